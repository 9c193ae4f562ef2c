//! Timers, tasks, and messages from other threads, inside a worker.

use super::*;
use std::{cell::RefCell, rc::Rc};

#[test]
fn sleepers_wake_in_order_and_not_early() {
    on_each_engine(|| async {
        let start = now();
        let woken = Rc::new(RefCell::new(Vec::new()));
        let last = sync::Latch::new();
        for wait in [40u64, 10, 70, 25] {
            let (woken, last) = (Rc::clone(&woken), last.clone());
            spawn(async move {
                sleep(Duration::from_millis(wait)).await;
                assert!(now().since(start) >= Duration::from_millis(wait));
                woken.borrow_mut().push(wait);
                if wait == 70 {
                    last.set();
                }
            });
        }
        last.wait().await;
        assert_eq!(*woken.borrow(), [10, 25, 40, 70]);
        sleep_until(start).await;
        assert!(timeout_at(soon(), async { 5 }).await.is_some());
        assert!(
            timeout_at(start, std::future::pending::<()>())
                .await
                .is_none()
        );
    });
}

#[test]
// INV-PANIC
fn a_panic_ends_its_task_alone() {
    let before = panics();
    on_each_engine(|| async {
        spawn(async {
            yield_now().await;
            panic!("this panic is part of the test");
        });
        let after = sync::Latch::new();
        let set = after.clone();
        spawn(async move {
            sleep(Duration::from_millis(5)).await;
            set.set();
        });
        after.wait().await;
    });
    assert_eq!(panics() - before, engines().len() as u64);
}

#[test]
fn a_message_of_another_thread_wakes_a_sleeping_worker() {
    on_each_engine(|| async {
        let (to_thread, from_worker) = mpsc::channel::<u32>();
        let (answer, mut answers) = mailbox::mailbox(4);
        let thread = std::thread::spawn(move || {
            for n in from_worker {
                // The worker is asleep by now, most of the time.
                std::thread::sleep(Duration::from_micros(u64::from(n % 300)));
                answer.try_send(n).unwrap();
            }
        });
        for n in 0..1000 {
            to_thread.send(n).unwrap();
            assert_eq!(answers.recv().await, Some(n));
        }
        drop(to_thread);
        assert_eq!(answers.recv().await, None, "the sender is gone");
        thread.join().unwrap();
    });
}

#[test]
fn a_worker_may_end_with_tasks_and_operations_in_flight() {
    on_each_engine(|| async {
        let mut listener = listen();
        let address = listener.address();
        spawn(async move {
            let mut kept = Vec::new();
            while let Ok(Some((mut stream, _))) = listener.accept().await {
                let (done, wait) = mailbox::mailbox::<()>(1);
                kept.push(wait);
                spawn(async move {
                    let _done = done;
                    stream.send(vec![1; 32 << 20]).await.0.unwrap();
                });
            }
        });
        for _ in 0..3 {
            spawn(async move {
                let mut stream = Stream::connect(address, soon()).await.unwrap();
                let _held = stream.recv().await.unwrap();
                sleep(Duration::from_secs(60)).await;
            });
        }
        sleep(Duration::from_millis(30)).await;
    });
}

#[test]
fn a_panic_in_main_is_passed_on_and_leaves_nothing() {
    for engine in engines() {
        // The first runtime of a process leaves tokio's signal pipe behind.
        run_worker(engine, None, || async {}).unwrap();
        let before = descriptors();
        let result = std::panic::catch_unwind(|| {
            run_worker(engine, None, || async {
                let (mut client, server) = pair().await;
                let mut listener = listen();
                spawn(async move { drop(listener.accept().await) });
                spawn(async move { drop(client.recv().await) });
                spawn(async move {
                    let mut server = server;
                    server.send(vec![1; 32 << 20]).await.0.unwrap();
                });
                sleep(Duration::from_millis(5)).await;
                panic!("this panic is part of the test");
            })
        });
        assert!(result.is_err());
        assert_eq!(descriptors(), before);
    }
}
