//! What tells of clients, over HTTP.

#![allow(clippy::unwrap_used)]

use super::{
    Door, Rules,
    tests::{ask, with_door, with_server},
};
use std::sync::Arc;

#[test]
fn an_explanation_is_found_by_its_id_in_three_forms() {
    with_server(|address, fake, _| async move {
        let known = "/explain/0123456789abc";
        let (status, head, body) = ask(address, "GET", known, "").await;
        assert!(status == 200 && head.contains("application/json"), "{head}");
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["check"], "rule.no");
        let (_, _, body) = ask(address, "GET", known, "Accept: text/plain\r\n").await;
        assert!(
            body.contains("verdict: reject: 550 5.7.1 No (rule.no)"),
            "{body}"
        );
        let (_, head, body) = ask(address, "GET", known, "Accept: text/html\r\n").await;
        assert!(head.contains("text/html"), "{head}");
        // What a stranger wrote is no markup.
        assert!(body.contains("&lt;&lt;b&gt;@a.example&gt;"), "{body}");
        let (status, _, body) = ask(address, "GET", "/explain/7777777777777", "").await;
        assert_eq!(status, 404);
        assert!(
            body.contains(
                "7777777777777 is not known; 6 judgements are kept, since 2025-11-27T12:00:00Z"
            ),
            "{body}"
        );
        *fake.stalled.lock().unwrap() = true;
        let (_, _, body) = ask(address, "GET", "/explain", "").await;
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&read["kept"], &read["workers_without_answer"]),
            (&3.into(), &1.into())
        );
        assert_eq!(read["latest"][0]["id"], "0123456789ABC");
    });
}

#[test]
fn what_tells_of_clients_is_for_those_that_may_change_something() {
    with_server(|address, fake, _| async move {
        let foreign = "Origin: http://evil.example\r\n";
        for path in ["/explain", "/explain/0123456789ABC", "/shadow"] {
            assert_eq!(ask(address, "GET", path, foreign).await.0, 403, "{path}");
        }
        let config: crate::config::Config =
            toml::from_str("[admin]\ntoken = { env = \"PATH\" }").unwrap();
        *fake.rules.lock().unwrap() = Arc::new(Rules::build(&config).unwrap());
        let token = std::env::var("PATH").unwrap();
        let token = format!("Authorization: Bearer {token}\r\n");
        for path in ["/explain", "/explain/0123456789ABC", "/shadow"] {
            assert_eq!(ask(address, "GET", path, "").await.0, 401, "{path}");
            assert_eq!(ask(address, "GET", path, &token).await.0, 200, "{path}");
        }
        assert_eq!(
            ask(address, "GET", "/ready", "").await.0,
            503,
            "others need none"
        );
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    with_door(listener.into(), Door::Public, |_, _| async move {
        assert_eq!(ask(address, "GET", "/explain", "").await.0, 404);
        assert_eq!(
            ask(address, "GET", "/explain/0123456789ABC", "").await.0,
            404
        );
    });
}
