//! An actor panics in every place, and comes back, or is stopped on the way.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, Message};
use tokio::time::Instant;

use super::{Exit, Stop, Supervised, supervise, supervise_on_thread};

/// What outlives the actor: what it counted, and how it is to behave.
#[derive(Default)]
struct World {
    built: AtomicU32,
    restarts: AtomicU32,
    stopped: AtomicU32,
    panics_in_factory: AtomicBool,
    panics_at_stop: AtomicU32,
    ignores_stop: AtomicBool,
}

struct Worker {
    exit: Exit,
    world: Arc<World>,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Work;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Work> for Worker {
    type Result = u32;

    fn handle(&mut self, _: Work, _: &mut Self::Context) -> u32 {
        self.world.built.load(Ordering::SeqCst)
    }
}

impl Handler<Panic> for Worker {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("as the test wants");
    }
}

impl Handler<Stop> for Worker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        let panics = &self.world.panics_at_stop;
        if panics.load(Ordering::SeqCst) > 0 {
            panics.fetch_sub(1, Ordering::SeqCst);
            panic!("as the test wants, while it stops");
        }
        if !self.world.ignores_stop.load(Ordering::SeqCst) {
            self.world.stopped.fetch_add(1, Ordering::SeqCst);
            self.exit.meant();
            actix::ActorContext::stop(ctx);
        }
    }
}

fn parts(world: &Arc<World>) -> (impl FnMut(Exit) -> Worker + use<>, impl FnMut() + use<>) {
    let (built, counted) = (Arc::clone(world), Arc::clone(world));
    let factory = move |exit| {
        built.built.fetch_add(1, Ordering::SeqCst);
        assert!(
            !built.panics_in_factory.swap(false, Ordering::SeqCst),
            "as the test wants, in the factory"
        );
        Worker {
            exit,
            world: Arc::clone(&built),
        }
    };
    (factory, move || {
        counted.restarts.fetch_add(1, Ordering::SeqCst);
    })
}

fn start(world: &Arc<World>) -> Supervised<Worker> {
    let (factory, on_restart) = parts(world);
    let (supervised, supervisor) = supervise(factory, on_restart);
    actix_rt::spawn(supervisor.run());
    supervised
}

async fn living(supervised: &Supervised<Worker>) -> Addr<Worker> {
    let mut addresses = supervised.addresses();
    let address = addresses.wait_for(Option::is_some).await.unwrap();
    address.clone().unwrap()
}

/// Breaks the present actor and waits for the next one.
async fn broken(supervised: &Supervised<Worker>) -> Addr<Worker> {
    let old = living(supervised).await;
    let mut addresses = supervised.addresses();
    assert!(
        old.send(Panic).await.is_err(),
        "a caller gets an error, not silence"
    );
    let is_next = |address: &Option<Addr<Worker>>| address.as_ref().is_some_and(|next| *next != old);
    addresses.wait_for(is_next).await.unwrap().clone().unwrap()
}

#[actix_rt::test]
async fn a_panic_is_counted_and_healed() {
    let world = Arc::new(World::default());
    let supervised = start(&world);
    assert_eq!(living(&supervised).await.send(Work).await.unwrap(), 1);
    tokio::time::pause();
    for panics in 1..=3 {
        let next = broken(&supervised).await;
        assert_eq!(next.send(Work).await.unwrap(), panics + 1);
        assert_eq!(world.restarts.load(Ordering::SeqCst), panics);
    }
    supervised.stop().await;
    assert!(supervised.address().is_none());
    assert_eq!(world.stopped.load(Ordering::SeqCst), 1);
}

#[actix_rt::test]
async fn panics_in_a_row_are_spaced_and_a_good_life_ends_the_row() {
    let world = Arc::new(World::default());
    let supervised = start(&world);
    tokio::time::pause();
    let waited = || async {
        let began = Instant::now();
        broken(&supervised).await;
        began.elapsed().as_secs()
    };
    assert_eq!([waited().await, waited().await, waited().await], [0, 1, 2]);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(waited().await, 0, "it lived well in between");
}

#[actix_rt::test]
async fn a_factory_that_panics_is_called_again() {
    let world = Arc::new(World::default());
    world.panics_in_factory.store(true, Ordering::SeqCst);
    let supervised = start(&world);
    assert_eq!(living(&supervised).await.send(Work).await.unwrap(), 2);
    assert_eq!(world.restarts.load(Ordering::SeqCst), 1);
}

#[actix_rt::test]
async fn an_actor_that_panics_while_it_stops_is_built_once_more_to_stop() {
    let world = Arc::new(World::default());
    world.panics_at_stop.store(1, Ordering::SeqCst);
    let supervised = start(&world);
    living(&supervised).await;
    supervised.stop().await;
    let (built, stopped) = (&world.built, &world.stopped);
    assert_eq!(
        (built.load(Ordering::SeqCst), stopped.load(Ordering::SeqCst)),
        (2, 1)
    );

    // And no more than once.
    let world = Arc::new(World::default());
    world.panics_at_stop.store(u32::MAX, Ordering::SeqCst);
    let supervised = start(&world);
    living(&supervised).await;
    supervised.stop().await;
    assert_eq!(world.built.load(Ordering::SeqCst), 2);
}

#[actix_rt::test]
async fn a_stop_does_not_wait_for_the_back_off() {
    let world = Arc::new(World::default());
    let supervised = start(&world);
    broken(&supervised).await;
    let last = living(&supervised).await;
    tokio::time::pause();
    assert!(last.send(Panic).await.is_err());
    let began = Instant::now();
    supervised.stop().await;
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        world.stopped.load(Ordering::SeqCst),
        1,
        "what the last one left is written"
    );
}

#[actix_rt::test]
async fn patience_ends_with_an_actor_that_does_not_stop() {
    let world = Arc::new(World::default());
    world.ignores_stop.store(true, Ordering::SeqCst);
    let (factory, on_restart) = parts(&world);
    let (supervised, supervisor) = supervise(factory, on_restart);
    actix_rt::spawn(supervisor.patience(Duration::from_millis(80)).run());
    living(&supervised).await;
    tokio::time::pause();
    let began = Instant::now();
    supervised.stop().await;
    assert!((80..100).contains(&began.elapsed().as_millis()));
    assert_eq!(world.restarts.load(Ordering::SeqCst), 0);
}

#[actix_rt::test]
async fn on_a_thread_of_its_own_it_comes_back_too() {
    fn is_send(work: impl Future + Send) -> impl Future + Send {
        work
    }
    let world = Arc::new(World::default());
    let (factory, on_restart) = parts(&world);
    let supervised = supervise_on_thread(factory, on_restart);
    let next = broken(&supervised).await;
    assert_eq!(next.send(Work).await.unwrap(), 2);
    is_send(supervised.stop()).await;
    assert_eq!(world.stopped.load(Ordering::SeqCst), 1);
}
