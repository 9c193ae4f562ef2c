//! HTTP for the sources that speak it: one request, one reply of a bounded size, kept connections, no redirects.

use crate::tls::{self, Anchors};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Bytes, header::HOST, http::response::Parts};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error, path::Path, time::Duration};

/// Octets of a reply's body at most.
const BODY_MAX: usize = 64 * 1024;

/// Octets of a reply's head at most.
const HEAD_MAX: usize = 16 * 1024;

/// A connection that was idle for this long is closed.
const IDLE: Duration = Duration::from_secs(30);

/// A client of one endpoint.
#[derive(Debug)]
pub struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: hyper::Uri,
}

impl Web {
    /// For this endpoint; `ca` is a file of trust anchors, or empty for the system's. `idle` connections are kept at
    /// most.
    ///
    /// # Errors
    /// In words, if the address is none, or the certificates can't be read.
    pub fn build(url: &str, ca: &Path, idle: usize) -> Result<Web, String> {
        let url: hyper::Uri = url.parse().map_err(|why| format!("{url}: {why}"))?;
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        let tls = trust(ca, url.scheme_str() == Some("https"))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .http1_title_case_headers(true)
            .http1_max_buf_size(HEAD_MAX)
            .build(connector);
        Ok(Web { client, url })
    }

    /// A request to the endpoint.
    pub fn request(&self, method: hyper::Method) -> hyper::http::request::Builder {
        let host = self.url.authority().map_or("", |host| host.as_str());
        Request::builder()
            .method(method)
            .uri(self.url.clone())
            .header(HOST, host)
    }

    /// Sends it and reads the whole reply.
    ///
    /// # Errors
    /// In words: no connection, no HTTP, too long.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), String> {
        let reply: Response<_> = self
            .client
            .request(request)
            .await
            .map_err(|why| chain(&why))?;
        let (head, body) = reply.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await;
        let body = body.map_err(|why| chain(&*why))?;
        Ok((head, body.to_bytes()))
    }
}

/// What an `https` endpoint's certificate is held against.
fn trust(ca: &Path, wanted: bool) -> Result<rustls::ClientConfig, String> {
    let anchors = match (wanted, ca.as_os_str().is_empty()) {
        (false, _) => None,
        (true, true) => Some(Anchors::system()),
        (true, false) => Some(Anchors::read(ca)),
    };
    let anchors = anchors.transpose().map_err(|why| why.to_string())?;
    tls::web(anchors.as_ref()).map_err(|why| why.to_string())
}

/// An error and what it comes from, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}
