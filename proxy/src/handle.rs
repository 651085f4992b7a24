//! The hall: one request from its head to the head of its answer.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use http_body::Body as _;

use crate::exchange::answer::{refuse, reject};
use crate::exchange::record::Record;
use crate::exchange::request_body::{RequestBody, Source};
use crate::exchange::response_body::Body;
use crate::exchange::tunnel::Tunnel;
use crate::exchange::{Answer, Exchange};
use crate::forward::waiting_room::Seeker;
use crate::forward::{Answered, Forward};
use crate::message::forwarded::Origin;
use crate::message::headers::Outgoing;
use crate::message::reason::Reason;
use crate::message::validate::validate;
use crate::metrics::log_line::LogLine;
use crate::pool::balance::Traits;
use crate::upstream::ResponseBody;

/// Answers one request. Never fails: what goes wrong becomes an answer, or an aborted body.
///
/// # Cancel safety
/// Dropping the future closes the upstream connection in use and counts the request as a client that
/// went away.
pub(crate) async fn handle(
    exchange: &Exchange<'_>,
    parts: Parts,
    source: Option<Rc<dyn Source>>,
) -> Answer {
    let worker = exchange.worker;
    let view = worker.view();
    let policy = Arc::clone(&view.table.policy);
    let trusted = &policy.trusted_proxies;
    let origin =
        Origin::new(exchange.peer, &parts.headers, trusted, &worker.ids, SystemTime::now());
    let mut record = Record::start(worker, || log_line(&parts, &origin));

    let head = match validate(&parts, &policy.limits) {
        Ok(head) => head,
        Err(rejection) => return reject(worker, rejection, &mut record),
    };
    let Some((route, service)) = view.route(head.host.as_deref().unwrap_or_default(), head.path)
    else {
        worker.slot.rejections.count(Reason::NoRoute);
        return refuse(Reason::NoRoute, &mut record);
    };
    let whole = &*head.target;
    let target = route.strip(whole).unwrap_or(Cow::Borrowed(whole));
    record.routed(&service.context);
    let max_body = service.context.settings.max_body;
    let body = source
        .map(|source| RequestBody::new(source, max_body, &policy.limits, &worker.timers))
        .transpose();
    let body = match body {
        Ok(body) => body,
        Err(reason) => return refuse(reason, &mut record),
    };
    let traits = Traits { client: origin.client, headers: &parts.headers, target: whole };
    let mut seeker = Seeker::new(worker, &service.context, record.started());
    seeker.look_first(&view, &parts.method, &traits);
    // From here on the request knows its pool only: the view would hold on to every pool there is.
    drop(view);

    let settings = Arc::clone(&seeker.service().settings);
    let forward = Forward {
        worker,
        parts: &parts,
        outgoing: Outgoing {
            target: &target,
            authority: head.authority,
            host: settings.host.as_ref(),
            origin: &origin,
            upgrade: head.upgrade,
            trusted: origin.is_trusted,
        },
        traits,
        record: &mut record,
    };
    let mut interim = |status, headers: &_| (exchange.interim)(status, headers);
    match forward.send(seeker, body, &mut interim).await {
        Ok(Answered::Response(head, body)) => {
            if is_stream(&body) {
                record.become_stream();
            }
            Answer::Response(head, Body::upstream(body, record, worker))
        }
        Ok(Answered::Switching(head, connection)) => {
            record.become_stream();
            Answer::Switching(head, Box::new(Tunnel::new(worker, connection, record)))
        }
        Err(reason) => refuse(reason, &mut record),
    }
}

/// Whether an answer gets the deadline of streams: nobody knows its end, or it is long.
fn is_stream(body: &ResponseBody<RequestBody>) -> bool {
    let length = body.size_hint().exact(); // framing fields end in the codec
    body.is_open_ended() || length.is_some_and(|bytes| bytes >= LONG_BODY_BYTES)
}

/// A body that takes a while on any line: the deadline of requests is not meant for it.
const LONG_BODY_BYTES: u64 = 1 << 20;

fn log_line(parts: &Parts, origin: &Origin) -> LogLine {
    let named = parts.headers.get(http::header::HOST).map(|host| host.as_bytes());
    let targeted = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = targeted.or(named);
    LogLine {
        request_id: origin.request_id.as_str().to_owned(),
        client: origin.client,
        method: parts.method.clone(),
        host: String::from_utf8_lossy(host.unwrap_or_default()).into_owned(),
        path: parts.uri.path_and_query().map_or("", |target| target.as_str()).to_owned(),
        service: None,
        color: None,
        endpoint: None,
        attempts: 0,
        upstream_time: None,
        reason: None,
    }
}
