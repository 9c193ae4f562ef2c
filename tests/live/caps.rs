//! What one client may take of what all share: places, memory, connections to backends. Whatever it does with them, mail
//! from others passes.

use crate::{
    backend::Backend,
    client::Client,
    harness::{Gatepost, free_address},
    resources::config,
};

/// Sends one message that must be accepted.
fn passes(gatepost: &Gatepost) {
    let mut client = Client::hello(gatepost.smtp);
    let reply = client.send("a@sender.example", &["b@example.net"], "Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
}

/// Opens a body of a declared size.
fn declared(gatepost: &Gatepost, size: usize) -> Client {
    let mut client = Client::hello(gatepost.smtp);
    client.expect(&format!("MAIL FROM:<a@sender.example> SIZE={size}"), "250");
    client.expect("RCPT TO:<b@example.net>", "250");
    client.expect("DATA", "354");
    client
}

crate::on_all_engines! {
    fn declared_sizes_take_no_memory(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", "[limits]\nbody_memory = \"1MiB\"\n"));
        // Twice the budget is declared, and an octet of each is sent.
        let mut held: Vec<Client> = (0..8).map(|_| declared(&gatepost, 256 * 1024)).collect();
        passes(&gatepost);
        held.iter_mut().for_each(|client| client.raw(b"S"));
        passes(&gatepost);
        // What was declared can still come.
        let mut last = held.pop().expect("eight");
        last.raw(b"ubject: x\r\n\r\n");
        last.raw("a line of thirty-two octets ....\r\n".repeat(7_000).as_bytes());
        last.raw(b".\r\n");
        assert!(last.reply().starts_with("250"));
        assert_eq!(backend.messages().len(), 3);
    }
}
