//! HTTPS to the authority: what the ACME client sends goes through here, with a limit on time and size.

use crate::tls::{self, Anchors};
use http_body_util::{BodyExt, Limited};
use hyper::{Request, body::Bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::{path::Path, pin::Pin, time::Duration};
use tokio::time::timeout;

/// Until an answer is whole, the connection to get it included.
const ANSWER: Duration = Duration::from_secs(60);
/// Octets of an answer at most; a chain of certificates has some thousands.
const ANSWER_MAX: usize = 1 << 20;

/// The way to an authority.
pub struct Web(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Web {
    /// Trusts the authorities of the system, or those in `ca` alone.
    ///
    /// # Errors
    /// There are none to trust.
    pub fn new(ca: Option<&Path>) -> Result<Web, String> {
        let anchors = match ca {
            None => Anchors::system(),
            Some(file) => Anchors::read(file),
        };
        let config = anchors
            .and_then(|anchors| tls::web(Some(&anchors)))
            .map_err(|why| why.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        Ok(Web(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        let whole = async move {
            let answer = answer.await.map_err(|why| Error::Other(Box::new(why)))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = Box::new(body.map_err(Error::Other)?.to_bytes());
            Ok(BytesResponse { parts, body })
        };
        Box::pin(async move {
            let late = || Error::Other(format!("no answer within {} s", ANSWER.as_secs()).into());
            timeout(ANSWER, whole).await.unwrap_or_else(|_| Err(late()))
        })
    }
}
