//! Sleeps that wait for several events: nothing is lost, and who is alone is heard.

use super::*;
use std::{cell::Cell, rc::Rc};

const PAIRS: usize = 24;

/// Many talk at once, then one of them goes on alone, while timers run all the time.
#[test]
fn who_is_alone_is_heard_though_the_others_fell_silent() {
    on_each_engine(|| async {
        gather_events();
        let ticks = Rc::new(Cell::new(0));
        let ticking = Rc::clone(&ticks);
        spawn(async move {
            loop {
                sleep(Duration::from_millis(2)).await;
                ticking.set(ticking.get() + 1);
            }
        });
        let left = Rc::new(Cell::new(PAIRS - 1));
        let all = sync::Latch::new();
        for _ in 1..PAIRS {
            let (left, all) = (Rc::clone(&left), all.clone());
            let (mut client, server) = pair().await;
            spawn(echo(server));
            spawn(async move {
                talk(&mut client, 500).await;
                left.set(left.get() - 1);
                if left.get() == 0 {
                    all.set();
                }
            });
        }
        let (mut client, server) = pair().await;
        client.set_deadline(soon());
        spawn(echo(server));
        talk(&mut client, 500).await;
        all.wait().await;
        talk(&mut client, 300).await;
        let before = ticks.get();
        sleep(Duration::from_millis(40)).await;
        assert!(ticks.get() > before, "timers go on");
    });
}

/// A word from another thread is heard, whatever is waited for.
#[test]
fn a_word_from_another_thread_is_heard_while_many_talk() {
    on_each_engine(|| async {
        gather_events();
        for _ in 0..PAIRS {
            let (mut client, server) = pair().await;
            spawn(echo(server));
            spawn(async move { talk(&mut client, 100_000).await });
        }
        let (tell, mut hear) = mailbox::mailbox(1);
        let thread = std::thread::spawn(move || {
            for word in 0..50 {
                std::thread::sleep(Duration::from_millis(1));
                while tell.try_send(word).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        for word in 0..50 {
            let heard = timeout_at(soon(), hear.recv()).await;
            assert_eq!(heard, Some(Some(word)));
        }
        thread.join().unwrap();
    });
}
