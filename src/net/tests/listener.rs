//! Accepting: stopping, sharing, and running out of descriptors.

use super::*;

#[test]
fn stopping_ends_accept_but_not_the_other_holders_of_the_socket() {
    on_each_engine(|| async {
        let bound = Bound::new("127.0.0.1:0".parse().unwrap(), 16, BindOptions::default()).unwrap();
        let address = bound.address();
        let other = bound.try_clone().unwrap();
        let mut listener = Listener::adopt(bound).unwrap();
        let stopper = listener.stopper();
        let stopped = sync::Latch::new();
        let told = stopped.clone();
        spawn(async move {
            assert!(listener.accept().await.unwrap().is_none());
            assert!(listener.accept().await.unwrap().is_none(), "it stays so");
            told.set();
        });
        sleep(Duration::from_millis(10)).await;
        stopper.stop();
        stopped.wait().await;
        // What arrives now is not swallowed by the one that stopped.
        let client = Stream::connect(address, soon()).await.unwrap();
        let mut other = Listener::adopt(other).unwrap();
        let (_, peer) = other.accept().await.unwrap().unwrap();
        assert_eq!(peer, client.local().unwrap());
    });
}

#[test]
fn a_listener_dropped_while_it_accepts_swallows_nothing() {
    on_each_engine(|| async {
        let bound = Bound::new("127.0.0.1:0".parse().unwrap(), 16, BindOptions::default()).unwrap();
        let mut listener = Listener::adopt(bound.try_clone().unwrap()).unwrap();
        let limit = now().after(Duration::from_millis(5));
        assert!(timeout_at(limit, listener.accept()).await.is_none());
        drop(listener);
        sleep(Duration::from_millis(5)).await;
        let client = Stream::connect(bound.address(), soon()).await.unwrap();
        let mut listener = Listener::adopt(bound).unwrap();
        let (_, peer) = listener.accept().await.unwrap().unwrap();
        assert_eq!(peer, client.local().unwrap());
    });
}

/// What was accepted before the stop is returned after it; what was not stays for the others.
#[test]
fn stopping_loses_no_connection() {
    on_each_engine(|| async {
        const CLIENTS: usize = 40;
        let bound = Bound::new("127.0.0.1:0".parse().unwrap(), 64, BindOptions::default()).unwrap();
        let address = bound.address();
        let other = bound.try_clone().unwrap();
        let mut listener = Listener::adopt(bound).unwrap();
        let stopper = listener.stopper();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS / 2 {
            clients.push(Stream::connect(address, soon()).await.unwrap());
        }
        let mut servers = Vec::new();
        servers.push(listener.accept().await.unwrap().unwrap().0);
        for _ in 0..CLIENTS / 2 {
            clients.push(Stream::connect(address, soon()).await.unwrap());
        }
        stopper.stop();
        while let Some((server, _)) = listener.accept().await.unwrap() {
            servers.push(server);
        }
        let mut other = Listener::adopt(other).unwrap();
        while servers.len() < CLIENTS {
            servers.push(other.accept().await.unwrap().unwrap().0);
        }
        for mut server in servers {
            server.send(b"220".to_vec()).await.0.unwrap();
            server.close();
        }
        for mut client in clients {
            assert_eq!(recv_exact(&mut client, 3).await, b"220");
        }
    });
}

/// Sets the soft limit of descriptors. For this process: the test runner gives each test its own.
fn limit_descriptors(soft: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a valid place to read from and to write to.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, soft);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        before
    }
}

#[test]
fn a_listener_recovers_when_descriptors_come_back() {
    on_each_engine(|| async {
        let mut listener = listen();
        let client = Stream::connect(listener.address(), soon()).await.unwrap();
        let lowest_free = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/").unwrap());
        let before = limit_descriptors(u64::from(lowest_free.cast_unsigned()));
        let error = listener.accept().await.unwrap_err();
        limit_descriptors(before);
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        let (_, peer) = listener.accept().await.unwrap().unwrap();
        assert_eq!(peer, client.local().unwrap());
    });
}

#[test]
fn a_taken_port_is_named() {
    let options = BindOptions {
        reuse_port: false,
        key: "listener[0].address",
    };
    let taken = Bound::new("127.0.0.1:0".parse().unwrap(), 16, options).unwrap();
    let error = Bound::new(taken.address(), 16, options).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let named = format!("listener[0].address = \"{}\": ", taken.address());
    assert!(error.to_string().starts_with(&named), "{error}");
}

#[test]
fn workers_share_a_port() {
    let first = Bound::new("127.0.0.1:0".parse().unwrap(), 16, BindOptions::default()).unwrap();
    let second = Bound::new(first.address(), 16, BindOptions::default()).unwrap();
    assert_eq!(first.address(), second.address());
    let fd = std::os::fd::AsFd::as_fd(&second)
        .try_clone_to_owned()
        .unwrap();
    assert_eq!(Bound::from_fd(fd).unwrap().address(), second.address());
    assert!(Bound::from_fd(std::fs::File::open("/dev/null").unwrap().into()).is_err());
}
