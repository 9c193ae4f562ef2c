//! A small HTTP server for what asks one, which remembers who asked what; and a Dovecot that only knows accounts.

use crate::harness::{Running, free_address, leave_out, need, wait_until};
use axum::{Router, body::Bytes, extract::Request, http::HeaderMap, response::IntoResponse};
use std::{
    fs,
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub fields: HeaderMap,
    pub body: String,
}

impl Seen {
    /// A header field's value, or nothing.
    pub fn field(&self, name: &str) -> String {
        let value = self.fields.get(name);
        value
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    }
}

/// What it is answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub code: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: String,
    pub after: Duration,
}

impl Answer {
    /// 200 with these fields.
    pub fn fields(fields: &[(&'static str, &str)]) -> Answer {
        let owned = |(name, value): &(&'static str, &str)| (*name, value.to_string());
        Answer {
            code: 200,
            fields: fields.iter().map(owned).collect(),
            ..Answer::default()
        }
    }

    /// 200 with this body.
    pub fn body(body: &str) -> Answer {
        Answer {
            code: 200,
            body: body.into(),
            ..Answer::default()
        }
    }
}

/// The server. It ends with the test's process.
pub struct Endpoint {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    most: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Starts it.
    pub fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Endpoint {
        let address = free_address();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (known, answer) = (Arc::clone(&seen), Arc::new(answer));
        let listener = std::net::TcpListener::bind(address).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let peak = Arc::clone(&most);
        let handle = move |request: Request| {
            let (known, answer) = (Arc::clone(&known), Arc::clone(&answer));
            let (inside, peak) = (Arc::clone(&inside), Arc::clone(&peak));
            async move {
                let (head, body) = request.into_parts();
                let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
                let seen = Seen {
                    method: head.method.to_string(),
                    fields: head.headers,
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                known.lock().expect("no panic").push(seen.clone());
                let answer = answer(&seen);
                peak.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(answer.after).await;
                inside.fetch_sub(1, SeqCst);
                let mut response = answer.body.into_response();
                *response.status_mut() = answer.code.try_into().expect("a status");
                for (name, value) in answer.fields {
                    let value = value.try_into().expect("a value");
                    response.headers_mut().insert(name, value);
                }
                response
            }
        };
        std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                let _ = axum::serve(listener, Router::new().fallback(handle)).await;
            });
        });
        Endpoint {
            address,
            seen,
            most,
        }
    }

    /// The most requests that were under way at once.
    pub fn most(&self) -> usize {
        self.most.load(SeqCst)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// A runtime like the control thread's.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A Dovecot of its own, without mail: accounts in a file, tokens by an introspection endpoint.
pub struct Dovecot {
    pub folder: tempfile::TempDir,
    pub port: SocketAddr,
    master: Option<Running>,
}

impl Dovecot {
    /// Starts it with these lines of a passwd-file. `None`, and a note, where it can't.
    pub fn start(accounts: &str, introspection: Option<SocketAddr>) -> Option<Dovecot> {
        need("dovecot")?;
        if fs::metadata("/proc/self").map(|me| me.uid()).ok() != Some(0) {
            leave_out("tests with Dovecot: only root can start it");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let mut dovecot = Dovecot {
            folder,
            port: free_address(),
            master: None,
        };
        let root = dovecot.folder.path().display();
        // Without the penalty socket an address that was refused once doesn't wait for seconds from then on.
        let tokens = introspection.map_or(String::new(), |endpoint| {
            let text = format!(
                "introspection_mode = post\nintrospection_url = http://{endpoint}/introspect\n\
                 username_attribute = username\nactive_attribute = active\nactive_value = true\n"
            );
            fs::write(dovecot.folder.path().join("oauth2"), text).expect("written");
            format!("passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n args = {root}/oauth2\n}}\n")
        });
        let mechanisms = if tokens.is_empty() {
            ""
        } else {
            " xoauth2 oauthbearer"
        };
        let text = format!(
            "base_dir = {root}/run\nstate_dir = {root}/state\nlog_path = {root}/log\nprotocols =\nssl = no\n\
             default_internal_user = nobody\ndefault_internal_group = nogroup\ndefault_login_user = nobody\n\
             auth_mechanisms = plain login{mechanisms}\nauth_failure_delay = 0\n\
             service auth {{\n user = root\n unix_listener {root}/auth-client {{\n  mode = 0666\n }}\n\
             inet_listener {{\n  address = {}\n  port = {}\n }}\n}}\n\
             service anvil {{\n unix_listener anvil-auth-penalty {{\n  mode = 0\n }}\n}}\n\
             passdb {{\n driver = passwd-file\n mechanisms = plain login\n\
             args = scheme=PLAIN username_format=%u {root}/accounts\n}}\n{tokens}\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home=/tmp\n}}\n",
            dovecot.port.ip(),
            dovecot.port.port()
        );
        fs::write(dovecot.folder.path().join("conf"), text).expect("written");
        fs::write(dovecot.folder.path().join("accounts"), accounts).expect("written");
        dovecot.run();
        Some(dovecot)
    }

    /// Starts it, also again.
    pub fn run(&mut self) {
        let mut command = Command::new(need("dovecot").expect("it was there before"));
        command
            .arg("-F")
            .arg("-c")
            .arg(self.folder.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.master = Some(Running::start(&mut command));
        wait_until(&format!("Dovecot listens: {}", self.log()), || {
            UnixStream::connect(self.socket()).ok()
        });
    }

    /// Stops it, and waits until it has gone.
    pub fn stop(&mut self) {
        if let Some(mut master) = self.master.take() {
            let children = children(master.0.id());
            master.signal("TERM");
            let _ = master.0.wait();
            // Those who have clients stay until these go.
            for pid in children {
                let _ = Command::new("kill")
                    .args(["-s", "TERM", &pid])
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }

    /// Its auth client socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("auth-client")
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// The processes that this one has started, while it still runs.
fn children(parent: u32) -> Vec<String> {
    let line = format!("PPid:\t{parent}\n");
    let is_child = |folder: &fs::DirEntry| {
        fs::read_to_string(folder.path().join("status")).is_ok_and(|text| text.contains(&line))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(is_child)
        .map(|folder| folder.file_name().to_string_lossy().into_owned())
        .collect()
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.stop();
    }
}
