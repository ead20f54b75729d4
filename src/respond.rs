//! How a refusal looks to the client.
//!
//! | responder | response body | for |
//! |---|---|---|
//! | [`ProblemJson`], the default | an RFC 9457 problem document | any body that can be made from a `String`: axum's, `Full<Bytes>`, `String` |
//! | [`StatusOnly`] | none | any body with a `Default`: tonic's, `Empty`, `UnsyncBoxBody` |
//! | a closure | yours | any body |
//!
//! Both responders answer gRPC requests (`content-type: application/grpc…`) with status 200 and a `grpc-status` in the head, which gRPC
//! calls trailers-only. What a responder must not forget, [`Enforce`](crate::enforce::Enforce) adds after it: `Retry-After`,
//! `Location`, the rate-limit fields.
//!
//! # Example
//!
//! ```
//! use http::{Request, Response, StatusCode, request::Parts};
//! use palisade::{event::Action, policy::Rejection, respond::{ProblemJson, Respond}};
//!
//! let rejection = Rejection::new(Action::IpBlocked, StatusCode::FORBIDDEN, "address is blocked");
//! let (request, ()) = Request::new(()).into_parts();
//!
//! let response: Response<String> = ProblemJson.respond(&rejection, &request);
//! assert_eq!(response.status(), 403);
//! assert_eq!(response.headers()["content-type"], "application/problem+json");
//!
//! let own = |rejection: &Rejection, _: &Parts| Response::new(format!("no: {}", rejection.reason()));
//! assert_eq!(own.respond(&rejection, &request).body(), "no: address is blocked");
//! ```
//!
//! A responder answers the requests that are refused. The others are none of its business:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response, request::Parts};
//! use palisade::{SecurityLayer, client_ip::{ClientIpSource, PeerAddr}, event::NullSink, policy::Rejection};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let security = SecurityLayer::builder(ClientIpSource::Peer)
//!     .deny("198.51.100.0/24".parse()?)
//!     .sink(NullSink)
//!     .responder(|rejection: &Rejection, _: &Parts| {
//!         let mut response = Response::new(format!(r#"{{"error":"{}"}}"#, rejection.reason()));
//!         *response.status_mut() = rejection.status();
//!         response
//!     })
//!     .build();
//! let service = ServiceBuilder::new()
//!     .layer(security)
//!     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) }));
//!
//! for (client, expected) in [([203, 0, 113, 7], "hello"), ([198, 51, 100, 7], r#"{"error":"address is blocked"}"#)] {
//!     let peer = SocketAddr::from((client, 50_000));
//!     let request = Request::get("/").extension(PeerAddr::from(peer)).body(())?;
//!     assert_eq!(service.clone().oneshot(request).await?.body(), expected);
//! }
//! # Ok(()) }
//! ```

use std::fmt::Write as _;

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
    request::Parts,
};

use crate::policy::rejection::Rejection;

/// Makes the response to a refused request, with a body of type `B`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make a response with body `{B}`",
    note = "the default responder needs a body that is `From<String>`; use `StatusOnly` for a body that is `Default`, or a closure `|rejection: &Rejection, request: &Parts| -> Response<{B}>`"
)]
pub trait Respond<B>: Clone + Send + Sync + 'static {
    /// Makes the response.
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<B>;
}

impl<B, F> Respond<B> for F
where
    F: Fn(&Rejection, &Parts) -> Response<B> + Clone + Send + Sync + 'static,
{
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<B> {
        self(rejection, request)
    }
}

/// Answers with a problem document (RFC 9457); redirects have no body. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemJson;

impl<B: From<String>> Respond<B> for ProblemJson {
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<B> {
        if is_grpc(request) {
            return grpc(rejection, B::from(String::new()));
        }
        if rejection.status().is_redirection() {
            return bare(rejection, B::from(String::new()));
        }
        let problem = match rejection.document() {
            Some(document) => String::from(&**document),
            None => problem(rejection),
        };
        let mut response = if request.method == Method::HEAD {
            // RFC 9110, section 9.3.2: no content, but the fields of a GET. Not every server strips it on HTTP/2.
            let mut response = bare(rejection, B::from(String::new()));
            let length = HeaderValue::from(problem.len());
            response.headers_mut().insert(CONTENT_LENGTH, length);
            response
        } else {
            bare(rejection, B::from(problem))
        };
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

/// Answers with the bare status and no body.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusOnly;

impl<B: Default> Respond<B> for StatusOnly {
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<B> {
        if is_grpc(request) {
            return grpc(rejection, B::default());
        }
        bare(rejection, B::default())
    }
}

fn bare<B>(rejection: &Rejection, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = rejection.status();
    // A refusal is about this client at this moment; RFC 6585, section 4, forbids storing a 429 outright.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Writes the problem document. RFC 9457, section 3.1, for the members.
pub(crate) fn problem(rejection: &Rejection) -> String {
    let status = rejection.status();
    let mut json = String::with_capacity(192);
    json.push_str("{\"type\":");
    push_json(&mut json, rejection.problem_type().unwrap_or("about:blank"));
    json.push_str(",\"title\":");
    push_json(&mut json, status.canonical_reason().unwrap_or("Refused"));
    json.push_str(",\"status\":");
    json.push_str(status.as_str());
    json.push_str(",\"detail\":");
    push_json(&mut json, rejection.reason());
    if let [first, rest @ ..] = rejection.violated_policies() {
        // draft-ietf-httpapi-ratelimit-headers, section 5.1.
        json.push_str(",\"violated-policies\":[");
        push_json(&mut json, first);
        for policy in rest {
            json.push(',');
            push_json(&mut json, policy);
        }
        json.push(']');
    }
    json.push('}');
    json
}

fn push_json(json: &mut String, text: &str) {
    json.push('"');
    // Most of what is written is this crate's own text, with nothing to escape.
    // All bytes are looked at, whatever is found, so that the compiler can look at sixteen at a time.
    let harmful = text.bytes().fold(0, |found, it| {
        found | u8::from(it < b' ') | u8::from(it == b'"') | u8::from(it == b'\\')
    });
    if harmful == 0 {
        json.push_str(text);
        json.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                json.push('\\');
                json.push(c);
            }
            c if c < ' ' => {
                // Writing to a `String` cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

fn is_grpc(request: &Parts) -> bool {
    request
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().split_at_checked("application/grpc".len()))
        // `application/grpc-web` has its trailers in the body, which this answer has not.
        .is_some_and(|(start, rest)| {
            // RFC 9110, section 8.3.1: the case of the letters does not matter.
            start.eq_ignore_ascii_case(b"application/grpc")
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
}

/// Makes the response that gRPC calls trailers-only: the status is in the head, and there is no body.
fn grpc<B>(rejection: &Rejection, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", grpc_status(rejection.status()));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(rejection.reason())) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Encodes a `grpc-message`: the protocol lets printable ASCII but for `%` stand.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                // Writing to a `String` cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn grpc_status(status: StatusCode) -> HeaderValue {
    HeaderValue::from_static(match status {
        StatusCode::UNAUTHORIZED => "16", // UNAUTHENTICATED
        StatusCode::FORBIDDEN | StatusCode::PERMANENT_REDIRECT => "7", // PERMISSION_DENIED
        StatusCode::TOO_MANY_REQUESTS => "8", // RESOURCE_EXHAUSTED
        StatusCode::NOT_FOUND => "12",    // UNIMPLEMENTED
        StatusCode::SERVICE_UNAVAILABLE => "14", // UNAVAILABLE
        status if status.is_client_error() => "3", // INVALID_ARGUMENT
        _ => "13",                        // INTERNAL
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::event::Action;

    fn request(content_type: &'static str) -> Parts {
        let mut request = Request::new(());
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request.into_parts().0
    }

    fn rejection(status: StatusCode) -> Rejection {
        Rejection::new(Action::IpBlocked, status, "no \"entry\"")
    }

    #[test]
    fn a_problem_document_is_json() {
        let rejection = rejection(StatusCode::TOO_MANY_REQUESTS)
            .with_violated_policy("a\"b\\c".into())
            .with_violated_policy("d\n".into());
        let response: Response<String> = ProblemJson.respond(&rejection, &request("text/plain"));
        let json: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank",
                "title": "Too Many Requests",
                "status": 429,
                "detail": "no \"entry\"",
                "violated-policies": ["a\"b\\c", "d\n"],
            })
        );
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }

    #[test]
    fn a_redirect_has_no_body() {
        let rejection = rejection(StatusCode::PERMANENT_REDIRECT);
        let response: Response<String> = ProblemJson.respond(&rejection, &request("text/plain"));
        assert_eq!(response.status(), 308);
        assert_eq!(response.body(), "");
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(percent_encoded("100 % é\n"), "100 %25 %C3%A9%0A");
        assert_eq!(percent_encoded("too many requests"), "too many requests");
    }

    #[track_caller]
    fn check_grpc(content_type: &'static str, is_grpc: bool) {
        let request = request(content_type);
        let rejection = rejection(StatusCode::TOO_MANY_REQUESTS);
        let problem: Response<String> = ProblemJson.respond(&rejection, &request);
        let status: Response<String> = StatusOnly.respond(&rejection, &request);
        for response in [problem, status] {
            if is_grpc {
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["grpc-status"], "8");
                assert_eq!(response.body(), "");
            } else {
                assert_eq!(response.status(), 429);
                assert!(!response.headers().contains_key("grpc-status"));
            }
        }
    }

    #[test]
    fn grpc_is_answered_in_its_own_way() {
        check_grpc("application/grpc", true);
        check_grpc("application/grpc+proto", true);
        check_grpc("application/grpc;charset=utf-8", true);
        check_grpc("Application/gRPC ; a=b", true);
        check_grpc("application/grpc-web", false);
        check_grpc("application/grp", false);
        check_grpc("application/json", false);
    }
}
