//! What every request of a listener passes, in this order: request id, soft cap, limits of what
//! anybody may ask, a turn, catching of panics; and on the way back failures of an address, the request id's header, the metrics and the
//! access log (agents.md 1.4).
//!
//! It keeps a small record of the request, never a handle on it: handlers take the headers out, which actix
//! allows only while nobody else holds the request.

use std::{
    future::{Ready, ready},
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::Arc,
};

use actix_service::{Service, Transform, forward_ready};
use actix_web::{
    HttpMessage as _,
    dev::{ServiceRequest, ServiceResponse},
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};

use crate::{
    admission::Admission, error::Audience, exchange::Exchange, limits::Limits, metrics::HttpMetrics,
};

/// The gate of one listener. Workers share it.
#[derive(Clone)]
pub struct Gate {
    admission: Arc<Admission>,
}

impl Gate {
    pub(crate) fn new(audience: Audience, limits: Limits, metrics: HttpMetrics, address: String) -> Self {
        Self {
            admission: Arc::new(Admission::new(audience, limits, metrics, address)),
        }
    }

    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// Requests in flight on the listener.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.admission.in_flight()
    }
}

impl<S> Transform<S, ServiceRequest> for Gate
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = actix_web::Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse;
    type Error = actix_web::Error;
    type Transform = Gated<S>;
    type InitError = ();
    type Future = Ready<Result<Gated<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Gated {
            service: Rc::new(service),
            admission: Arc::clone(&self.admission),
        }))
    }
}

/// A worker's service behind the gate.
pub struct Gated<S> {
    service: Rc<S>,
    admission: Arc<Admission>,
}

impl<S> Service<ServiceRequest> for Gated<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = actix_web::Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse, actix_web::Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let mut exchange = Exchange::begin(&mut request, Arc::clone(&self.admission));
        if let Err(refusal) = exchange.admit() {
            let response = exchange.refuse(refusal);
            return Box::pin(ready(Ok(exchange.finish(request.into_response(response)))));
        }
        let service = Rc::clone(&self.service);
        Box::pin(async move {
            match exchange.turn().await {
                // For the handler, which knows when the server's part is over.
                Ok(turn) => drop(request.extensions_mut().insert(turn)),
                Err(refusal) => {
                    let response = exchange.refuse(refusal);
                    return Ok(exchange.finish(request.into_response(response)));
                }
            }
            // A panic ends this request, not the process: nothing that outlives the request is left half done, for
            // the state behind is the store's (transactions) or the actors' (messages).
            let work = AssertUnwindSafe(async move { service.call(request).await }).catch_unwind();
            match work.await {
                Ok(Ok(response)) => Ok(exchange.finish(response)),
                Ok(Err(error)) => Err(exchange.finish_error(&error)),
                Err(panic) => Err(exchange.finish_panic(&*panic)),
            }
        })
    }
}
