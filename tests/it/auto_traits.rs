//! What may be cloned, sent and shared.

use std::{convert::Infallible, future::Ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use palisade::{
    SecurityLayer,
    client_ip::{ClientContext, ClientIpLayer, PeerAddr, ResolveClientIp},
    enforce::{
        Enforce, EnforceLayer, Refusal, ResponseFuture, TrackBody, TrackBodyFuture, TrackBodyLayer,
        TrackedBody,
    },
    event::{SecurityEvent, SharedSink},
    policy::{
        Admission, Check, Decision, DryRun, LaterDecision, Notice, Policy, PolicySet, Receipts,
        Rejection, RequestHead,
    },
    respond::{ProblemJson, StatusOnly},
};
use tower::{Service, util::BoxCloneSyncService};

use crate::support::{Hello, Refuse};

fn shared<T: Clone + Send + Sync + 'static>() {}
fn sent<T: Send + 'static>() {}

#[test]
fn layers_and_services_are_cloned_and_shared() {
    shared::<EnforceLayer<Refuse>>();
    shared::<EnforceLayer<dyn PolicySet, StatusOnly>>();
    shared::<Enforce<Hello, Refuse>>();
    shared::<Enforce<Hello, dyn PolicySet>>();
    shared::<ClientIpLayer>();
    shared::<ResolveClientIp<Hello>>();
    shared::<TrackBodyLayer>();
    shared::<TrackBody<Enforce<Hello, Refuse>>>();
    shared::<DryRun<Refuse>>();
    shared::<SecurityLayer>();
    shared::<ClientContext>();
    shared::<PeerAddr>();
    shared::<Refusal>();
    shared::<SharedSink>();
    shared::<Notice>();
    shared::<Rejection>();
    shared::<SecurityEvent<'static>>();
}

#[test]
fn futures_bodies_and_decisions_are_sent() {
    sent::<ResponseFuture<Hello, Refuse, ProblemJson, (), Full<Bytes>>>();
    sent::<TrackBodyFuture<Ready<Result<Response<Full<Bytes>>, Infallible>>>>();
    sent::<TrackedBody<Full<Bytes>>>();
    sent::<Admission>();
    sent::<Check>();
    sent::<Decision>();
    sent::<LaterDecision>();
    sent::<Receipts>();
    sent::<RequestHead<'static>>();
    sent::<Box<dyn Policy>>();
}

#[test]
fn a_gate_fits_into_a_boxed_service() {
    fn check<S>(service: S)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        drop(BoxCloneSyncService::new(service));
    }
    let layer = EnforceLayer::new(Refuse);
    check(tower::Layer::layer(&layer, Hello::default()));
}
