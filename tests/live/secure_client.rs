//! The client that sends just what it is told, after a handshake.

use crate::{certificates::Pem, client::Client};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS12,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

/// One SMTP connection under TLS.
pub struct Secure {
    tls: ClientConnection,
    stream: TcpStream,
}

impl Client {
    /// Shakes hands, and verifies who it is.
    pub fn into_tls(self, authority: &[u8], name: &str) -> Secure {
        self.into_version(ALL_VERSIONS, authority, name)
    }

    /// Shakes hands; `None` where the other side doesn't.
    pub fn try_tls(self, authority: &[u8], name: &str) -> Option<Secure> {
        self.try_version(ALL_VERSIONS, authority, name).ok()
    }

    /// The same with this certificate, where the other side may refuse it.
    pub fn try_tls_as(self, authority: &[u8], name: &str, own: &Pem) -> Option<Secure> {
        self.shake_hands(ALL_VERSIONS, authority, name, Some(own))
            .ok()
    }

    /// Shakes hands, and shows this certificate.
    pub fn into_tls_as(self, authority: &[u8], name: &str, own: &Pem) -> Secure {
        let secure = self.shake_hands(ALL_VERSIONS, authority, name, Some(own));
        secure.expect("a handshake")
    }

    fn into_version(
        self,
        versions: &[&'static SupportedProtocolVersion],
        authority: &[u8],
        name: &str,
    ) -> Secure {
        let secure = self.try_version(versions, authority, name);
        secure.expect("a handshake")
    }

    fn try_version(
        self,
        versions: &[&'static SupportedProtocolVersion],
        authority: &[u8],
        name: &str,
    ) -> std::io::Result<Secure> {
        self.shake_hands(versions, authority, name, None)
    }

    fn shake_hands(
        self,
        versions: &[&'static SupportedProtocolVersion],
        authority: &[u8],
        name: &str,
        own: Option<&Pem>,
    ) -> std::io::Result<Secure> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(authority.to_vec()))
            .expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
                let chain = chain.map(|one| one.expect("a certificate")).collect();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        let name = ServerName::try_from(name.to_string()).expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = self.into_stream();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Secure { tls, stream })
    }

    /// STARTTLS, and the handshake.
    pub fn secured(mut self, authority: &[u8], name: &str) -> Secure {
        self.expect("STARTTLS", "220");
        self.into_tls(authority, name)
    }

    /// The same by TLS 1.2.
    pub fn secured_by_old(mut self, authority: &[u8], name: &str) -> Secure {
        self.expect("STARTTLS", "220");
        self.into_version(&[&TLS12], authority, name)
    }
}

impl Secure {
    fn io(&mut self) -> rustls::Stream<'_, ClientConnection, TcpStream> {
        rustls::Stream::new(&mut self.tls, &mut self.stream)
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.io().write_all(bytes).expect("sent");
        self.io().flush().expect("sent");
    }

    /// Sends a command, returns its reply with all its lines.
    pub fn command(&mut self, command: &str) -> String {
        self.raw(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// The same where the other side may have ended the connection: empty then.
    pub fn try_command(&mut self, command: &str) -> String {
        match self.io().write_all(format!("{command}\r\n").as_bytes()) {
            Ok(()) => self.reply(),
            Err(_) => String::new(),
        }
    }

    /// One reply, all its lines; empty where the connection ended.
    pub fn reply(&mut self) -> String {
        let mut reply = Vec::new();
        loop {
            let mut octet = [0];
            match self.io().read(&mut octet) {
                Ok(1) => reply.push(octet[0]),
                _ => break,
            }
            let lines: Vec<&[u8]> = reply.split(|octet| *octet == b'\n').collect();
            if let [.., line, []] = lines[..]
                && line.get(3) != Some(&b'-')
            {
                break;
            }
        }
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Sends an octet after many new keys; whether it could be sent.
    pub fn renew_keys(&mut self, times: usize) -> bool {
        (0..times).for_each(|_| self.tls.refresh_traffic_keys().expect("a session"));
        let sent = self.io().write_all(b"x");
        sent.is_ok() && self.io().flush().is_ok()
    }

    /// The `tls-exporter` channel binding (RFC 9266 §2).
    pub fn exporter(&self) -> [u8; 32] {
        self.tls
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .expect("the handshake is over")
    }

    /// The other side's certificate.
    pub fn certificate(&self) -> Vec<u8> {
        self.tls.peer_certificates().expect("shown")[0].to_vec()
    }

    /// Whether the other side ends with a close_notify.
    pub fn ends_cleanly(&mut self) -> bool {
        match self.io().read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(why) => {
                assert_eq!(why.kind(), ErrorKind::UnexpectedEof);
                false
            }
        }
    }

    /// Ends the connection below TLS.
    pub fn cut(self) {
        drop(self.stream);
    }
}
