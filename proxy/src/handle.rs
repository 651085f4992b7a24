//! The hall: one request from its head to the head of its answer.

use std::borrow::Cow;
use std::rc::Rc;
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
use crate::message::validate::{Validated, validate};
use crate::metrics::log_line::LogLine;
use crate::pool::balance_key::BalanceKey;
use crate::pool::binding::Bound;
use crate::pool::view::View;
use crate::upstream::ResponseBody;

/// A request that keeps every rule, and the service that is to answer it. It leads to one pool at
/// most; the view that it was found by would lead to every pool there is.
struct Admitted<'r> {
    head: Validated<'r>,
    origin: Origin,
    /// The target to send upstream, where it is not the client's own.
    stripped: Option<Cow<'r, str>>,
    body: Option<RequestBody>,
    seeker: Seeker,
    /// The upstream connection that serves this client alone.
    bound: Option<Bound>,
    record: Record,
}

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
    let admitted = match worker.with_view(|view| admit(view, exchange, &parts, source)) {
        Ok(admitted) => admitted,
        Err(answer) => return *answer,
    };
    let Admitted { head, origin, stripped, body, seeker, bound, mut record } = admitted;
    let service = Rc::clone(seeker.service());
    let forward = Forward {
        worker,
        parts: &parts,
        outgoing: Outgoing {
            target: stripped.as_deref().unwrap_or(&head.target),
            authority: head.authority,
            host: service.settings.host.as_ref(),
            origin: &origin,
            upgrade: head.upgrade,
            trusted: origin.is_trusted,
        },
        key: balance_key(&parts, &head, &origin),
        bound,
        record: &mut record,
    };
    let mut interim = |status, headers: &_| (exchange.interim)(status, headers);
    match forward.send(seeker, body, &mut interim).await {
        Ok(Answered::Response(head, body)) => {
            if is_stream(&body) {
                record.become_stream();
            }
            Answer::Response(head, Body::upstream(body, record, worker, exchange.binding))
        }
        Ok(Answered::Switching(head, connection)) => {
            record.become_stream();
            Answer::Switching(head, Box::new(Tunnel::new(worker, connection, record)))
        }
        Err(reason) => refuse(reason, &mut record),
    }
}

/// Judges a request by one table, finds its service and takes a lease there if there is one at once.
///
/// # Errors
/// The answer to a request that breaks a rule or has no route.
fn admit<'r>(
    view: &View,
    exchange: &Exchange<'_>,
    parts: &'r Parts,
    source: Option<Rc<dyn Source>>,
) -> Result<Admitted<'r>, Box<Answer>> {
    let worker = exchange.worker;
    let policy = &view.table.policy;
    let trusted = &policy.trusted_proxies;
    let origin =
        Origin::new(exchange.peer, &parts.headers, trusted, &worker.ids, SystemTime::now());
    let mut record = Record::start(worker, || log_line(parts, &origin));
    let head = match validate(parts, &policy.limits) {
        Ok(head) => head,
        Err(rejection) => return Err(Box::new(reject(worker, rejection, &mut record))),
    };
    let Some((route, service)) = view.route(head.host.as_deref().unwrap_or_default(), head.path)
    else {
        worker.slot.rejections.count(Reason::NoRoute);
        return Err(Box::new(refuse(Reason::NoRoute, &mut record)));
    };
    let stripped = match &head.target {
        Cow::Borrowed(target) => route.strip(target),
        Cow::Owned(target) => route.strip(target).map(|target| target.into_owned().into()),
    };
    record.routed(&service.context);
    let max_body = service.context.settings.max_body;
    let body = source
        .map(|source| RequestBody::new(source, max_body, &policy.limits, &worker.timers))
        .transpose();
    let body = body.map_err(|reason| Box::new(refuse(reason, &mut record)))?;
    let mut seeker = Seeker::new(worker, &service.context, record.started());
    let bound = exchange.binding.get().and_then(|binding| binding.take());
    let endpoint = bound.as_ref().map(|bound| &bound.endpoint);
    seeker.look_first(view, &parts.method, &balance_key(parts, &head, &origin), endpoint);
    Ok(Admitted { head, origin, stripped, body, seeker, bound, record })
}

/// What the choice of an endpoint may depend on.
fn balance_key<'a>(parts: &'a Parts, head: &'a Validated<'_>, origin: &Origin) -> BalanceKey<'a> {
    BalanceKey { client: origin.client, headers: &parts.headers, target: &head.target }
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
