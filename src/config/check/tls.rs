//! `[[certificate]]` and what listeners say of TLS. Files are not looked at here: what is in them, `tls` judges.

use crate::config::{ClientCertificates, Config, Listener, ListenerTls, Role, document::Document};

pub fn check(config: &Config, at: &mut Document) {
    for (i, certificate) in config.certificate.iter().enumerate() {
        for (key, file) in [("chain", &certificate.chain), ("key", &certificate.key)] {
            if file.as_os_str().is_empty() {
                let message = format!("`certificate[{i}]` has no `{key}`");
                let hint = format!("write {key} = \"/etc/gatepost/tls/mx.pem\"");
                at.error(&format!("certificate[{i}].{key}"), message, hint);
            }
        }
    }
    let speaks = |listener: &Listener| listener.tls != ListenerTls::None;
    if !config.certificate.is_empty() && !config.listener.iter().any(speaks) {
        let hint = "write tls = \"starttls\" in a `[[listener]]`".to_string();
        at.warning(
            "certificate[0]",
            "no listener uses TLS, so this certificate is never shown".into(),
            hint,
        );
    }
    if config.acme.is_on() && !config.listener.iter().any(speaks) {
        let hint = "write tls = \"starttls\" in a `[[listener]]`".to_string();
        let message =
            "no listener uses TLS, so the certificate that is ordered is never shown".into();
        at.warning("acme.domains", message, hint);
    }
    for (i, listener) in config.listener.iter().enumerate() {
        self::listener(config, listener, &format!("listener[{i}]"), at);
    }
}

fn listener(config: &Config, listener: &Listener, path: &str, at: &mut Document) {
    let word = listener.tls;
    if word != ListenerTls::None && config.certificate.is_empty() && !config.acme.is_on() {
        let hint = "add a `[[certificate]]` with `chain` and `key`, or an `[acme]` with `domains`"
            .to_string();
        let message = format!("`tls = \"{word}\"` takes a certificate, and there is none");
        at.error(&format!("{path}.tls"), message, hint);
    }
    if word == ListenerTls::Required && listener.role == Role::Mx {
        let hint = "write \"starttls\", unless only your own servers connect here".to_string();
        let message = "servers without TLS can't send mail here".into();
        at.warning(&format!("{path}.tls"), message, hint);
    }
    let asks = listener.client_certificates != ClientCertificates::Off;
    let key = format!("{path}.client_certificates");
    if asks && word == ListenerTls::None {
        let hint = "write tls = \"starttls\", or another kind".to_string();
        let message = "without TLS no client can show a certificate".into();
        at.error(&key, message, hint);
    }
    if asks && listener.client_ca.is_none() {
        let hint =
            "name the authorities: client_ca = \"/etc/gatepost/tls/clients.pem\"".to_string();
        let message = "clients' certificates can't be checked without `client_ca`".into();
        at.error(&key, message, hint);
    }
    // A proxy in front may have asked in our place.
    let told = !listener.proxy_protocol_from.is_empty();
    for (key, means_nothing) in [
        ("client_ca", listener.client_ca.is_some() && !asks),
        (
            "client_trusted",
            !listener.client_trusted.is_empty() && !asks && !told,
        ),
    ] {
        if means_nothing {
            let hint = "write client_certificates = \"optional\"".to_string();
            let message =
                format!("`{key}` has no effect where clients aren't asked for a certificate");
            at.error(&format!("{path}.{key}"), message, hint);
        }
    }
}
