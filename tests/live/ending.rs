//! How a process ends, what of it the clients and load balancers see, and that the next one can start at once.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, greets, http, wait_until},
    rights::is_root,
};
use std::process::{Command, Stdio};

fn ended(gatepost: &mut Gatepost) -> Option<i32> {
    let status = wait_until("gatepost ends", || {
        gatepost.process.0.try_wait().expect("a child")
    });
    status.code()
}

crate::on_all_engines! {
    fn a_client_that_is_silent_is_told_at_once(engine) {
        let backend = Backend::good(free_address());
        let mut gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut idle = Client::hello(gatepost.smtp);
        let mut used = Client::hello(gatepost.smtp);
        assert!(used.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        gatepost.process.signal("TERM");
        for client in [&mut idle, &mut used] {
            let told = client.rest();
            assert!(told.starts_with("421 4.3.2"), "{told}");
        }
        drop((idle, used));
        assert_eq!(ended(&mut gatepost), Some(0));
    }

    fn the_next_process_gets_the_port_of_one_that_was_killed(engine) {
        let backend = Backend::good(free_address());
        let mut gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut open = Client::hello(gatepost.smtp);
        gatepost.process.0.kill().expect("killed");
        gatepost.process.0.wait().expect("a child");
        for _ in 0..4 {
            let mut next = Running::start(
                Command::new(env!("CARGO_BIN_EXE_gatepost"))
                    .args(["run", "-c"])
                    .arg(gatepost.file())
                    .stdout(Stdio::null()),
            );
            wait_until("it greets", || {
                assert_eq!(next.0.try_wait().expect("a child"), None);
                greets(gatepost.smtp)
            });
            next.0.kill().expect("killed");
            next.0.wait().expect("a child");
        }
        open.rest();
    }
}

#[test]
fn connections_are_taken_while_load_balancers_look_elsewhere() {
    let backend = Backend::good(free_address());
    let config = pool(&[&backend], "") + "[timeouts]\ndrain_delay = \"1h\"\n";
    let mut gatepost = Gatepost::start("epoll", &config);
    assert_eq!(gatepost.get("/ready").0, 200);
    let (status, _) = http(gatepost.admin, "POST", "/drain");
    assert_eq!(status, 202);
    wait_until("it isn't ready", || {
        (gatepost.get("/ready").0 == 503).then_some(())
    });
    let mut client = Client::hello(gatepost.smtp);
    assert!(
        client
            .send("a@sender.example", &["b@example.net"], "x\r\n")
            .starts_with("250")
    );
    gatepost.process.signal("TERM");
    assert_eq!(ended(&mut gatepost), Some(0));
    assert!(
        gatepost.errors().contains("ending at once"),
        "{}",
        gatepost.errors()
    );
}

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let backend = Backend::good(free_address());
    let mut gatepost = Gatepost::start("epoll", &pool(&[&backend], ""));
    for name in [
        "USR1", "USR2", "ALRM", "PROF", "VTALRM", "IO", "XFSZ", "XCPU", "PWR", "STKFLT", "RTMIN",
        "RTMIN+9",
    ] {
        gatepost.process.signal(name);
    }
    wait_until("it says so", || {
        let said = gatepost.errors();
        let mut all = ["SIGUSR1", "SIGUSR2", "SIGALRM"].iter();
        all.all(|name| said.contains(name)).then_some(())
    });
    wait_until("it greets", || greets(gatepost.smtp));
    gatepost.process.signal("QUIT");
    assert_eq!(ended(&mut gatepost), Some(0));
}

/// Root has no such limit: the process becomes another user.
#[test]
fn little_locked_memory_means_epoll_for_all() {
    if !is_root() || !crate::harness::has_engine("ring") {
        return;
    }
    let backend = Backend::good(free_address());
    let config = format!(
        "workers = 32\n[process]\nuser = \"nobody\"\n[log]\nto = \"off\"\n{}",
        pool(&[&backend], "")
    );
    let mut gatepost = Gatepost::start_behind("ulimit -l 1024", "auto", &config);
    let said = wait_until("it says what runs", || {
        let said = gatepost.errors();
        said.contains("32 workers on").then_some(said)
    });
    assert!(
        said.contains("on epoll") && said.contains("LimitMEMLOCK"),
        "{said}"
    );
    assert!(
        Client::hello(gatepost.smtp)
            .send("a@sender.example", &["b@example.net"], "x\r\n")
            .starts_with("250")
    );
    let file = gatepost.file();
    let text = std::fs::read_to_string(&file).expect("there");
    gatepost.process.0.kill().expect("killed");
    gatepost.process.0.wait().expect("a child");
    std::fs::write(&file, text.replace("io = \"auto\"", "io = \"ring\"")).expect("written");
    let out = Command::new("sh")
        .args(["-c", "ulimit -l 1024; exec \"$0\" run -c \"$1\""])
        .arg(env!("CARGO_BIN_EXE_gatepost"))
        .arg(&file)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.code() == Some(69) && said.contains("LimitMEMLOCK"),
        "{said}"
    );
}
