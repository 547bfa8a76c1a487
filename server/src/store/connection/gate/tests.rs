use std::pin::pin;

use futures_util::FutureExt as _;

use super::*;

const LIMITS: Limits = Limits { running: 8, writers: 2, waiting: 3, wait: Duration::from_secs(5) };

fn now(gate: &Arc<Gate>, class: Class, collection: i64) -> Option<Permit> {
    gate.enter(class, Some(collection)).now_or_never()?.ok()
}

fn all(gate: &Arc<Gate>, class: Class) -> Vec<Permit> {
    (0..).map_while(|collection| now(gate, class, collection)).collect()
}

#[tokio::test]
async fn withheld_permits_come_back() {
    let gate = Gate::new(Limits { running: 3, ..LIMITS });
    let [one, two, three] = all(&gate, Class::Search).try_into().ok().unwrap();
    assert!(gate.withhold(one) && gate.withhold(two));
    assert!(!gate.withhold(three), "one is left");
    let three = now(&gate, Class::Search, 1).unwrap();
    assert!(now(&gate, Class::Search, 1).is_none());
    tokio::time::sleep(WITHHELD_FOR + Duration::from_millis(50)).await;
    let _all = (three, now(&gate, Class::Search, 1).unwrap(), now(&gate, Class::Search, 1).unwrap());
    assert!(now(&gate, Class::Search, 1).is_none());
}

#[tokio::test]
async fn each_class_leaves_room_for_others() {
    let gate = Gate::new(LIMITS);
    let searches = all(&gate, Class::Search);
    assert_eq!(searches.len(), 7);
    assert!(now(&gate, Class::Administration, 1).is_some());
    drop(searches);
    assert_eq!(all(&gate, Class::Ingest).len(), 4);
    assert_eq!(all(&gate, Class::Administration).len(), 4);
}

#[tokio::test]
async fn no_collection_takes_all() {
    let gate = Gate::new(LIMITS);
    let searches: Vec<_> = (0..).map_while(|_| now(&gate, Class::Search, 1)).collect();
    assert_eq!(searches.len(), 6);
    assert!(now(&gate, Class::Search, 2).is_some() && now(&gate, Class::Ingest, 1).is_some());
    drop(searches);
    let _two = (now(&gate, Class::Ingest, 1).unwrap(), now(&gate, Class::Ingest, 1).unwrap());
    let mut third = pin!(gate.enter(Class::Ingest, Some(1)));
    assert!(third.as_mut().now_or_never().is_none());
    let _other = now(&gate, Class::Ingest, 2).unwrap();
    drop(_two);
    assert!(third.await.is_ok());
}

#[tokio::test]
async fn searches_and_writes_take_turns_and_administration_comes_first() {
    let gate = Gate::new(LIMITS);
    let mut permits = all(&gate, Class::Search);
    permits.extend(now(&gate, Class::Administration, 0));
    let wanted = [Class::Search, Class::Search, Class::Ingest, Class::Ingest, Class::Administration];
    let waiting: Vec<_> = wanted
        .map(|class| {
            let gate = Arc::clone(&gate);
            let mut entering = Box::pin(async move { gate.enter(class, None).await.map(|permit| (class, permit)) });
            assert!(entering.as_mut().now_or_never().is_none());
            entering
        })
        .into();
    let mut waiting: futures_util::stream::FuturesUnordered<_> = waiting.into_iter().collect();
    let mut order = Vec::new();
    for permit in permits.drain(..5).collect::<Vec<_>>() {
        drop(permit);
        while let Some(Some(Ok((class, permit)))) = futures_util::StreamExt::next(&mut waiting).now_or_never() {
            order.push(class);
            std::mem::forget(permit);
        }
    }
    assert_eq!(order[0], Class::Administration);
    assert_ne!(order[1], order[2]);
    assert_ne!(order[2], order[3]);
}

#[tokio::test]
async fn a_queue_that_is_full_or_slow_refuses() {
    let gate = Gate::new(LIMITS);
    let permits = all(&gate, Class::Search);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(gate.enter(Class::Search, None))).collect();
    for entering in &mut waiting {
        assert!(entering.as_mut().now_or_never().is_none());
    }
    assert!(matches!(gate.admits(Class::Search), Err(Refused::Overloaded { waiting: 3, .. })));
    assert!(gate.admits(Class::Administration).is_ok());
    waiting.pop();
    assert!(gate.admits(Class::Search).is_ok(), "one has left");

    gate.state().lanes[Class::Search as usize].held = Duration::from_secs(3);
    let Err(Refused::Overloaded { retry_after, .. }) = gate.admits(Class::Search) else { panic!("it is slow") };
    assert!(retry_after > Duration::from_secs(1));
    gate.state().lanes[Class::Search as usize].held = Duration::ZERO;
    drop(permits);
    for entering in waiting {
        assert!(entering.await.is_ok());
    }
}

#[tokio::test]
async fn a_queue_that_becomes_slow_refuses_those_who_came_last() {
    let gate = Gate::new(Limits { waiting: 100, ..LIMITS });
    let mut permits = all(&gate, Class::Search);
    let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(gate.enter(Class::Search, None))).collect();
    for entering in &mut waiting {
        assert!(entering.as_mut().now_or_never().is_none());
    }
    gate.state().lanes[Class::Search as usize].interval = Some(Duration::from_millis(60));
    permits.pop();
    let refused = waiting.iter_mut().filter_map(|entering| entering.as_mut().now_or_never()).collect::<Vec<_>>();
    assert_eq!(refused.iter().filter(|entered| entered.is_ok()).count(), 1);
    assert_eq!(refused.len() - 1, 50 - 25, "the others wait for at most 1.5 seconds");
    assert!(matches!(refused.last(), Some(Err(Refused::Overloaded { .. }))));
}

#[tokio::test]
async fn a_queue_is_as_fast_as_its_calls_end() {
    let gate = Gate::new(Limits { waiting: 100, ..LIMITS });
    let lane = |gate: &Gate| gate.state().lanes[Class::Search as usize].expected_wait(14);
    let mut permits = all(&gate, Class::Search);
    gate.state().lanes[Class::Search as usize].held = Duration::from_millis(50);
    let at_first = lane(&gate).as_millis();
    assert!((399..=401).contains(&at_first), "seven at once take four times as long as one, not {at_first} ms for all");
    let waiting: Vec<_> = (0..3).map(|_| Box::pin(gate.enter(Class::Search, None))).collect();
    let mut waiting: Vec<_> = waiting
        .into_iter()
        .filter_map(|mut entering| entering.as_mut().now_or_never().is_none().then_some(entering))
        .collect();
    permits.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    permits.pop();
    assert!(lane(&gate) > Duration::from_millis(410), "the second call ended 100 ms after the first one");
    drop(permits);
    waiting.clear();
    drop(now(&gate, Class::Search, 1));
    assert!(gate.state().lanes[Class::Search as usize].interval.is_none(), "nobody waits");
}

#[tokio::test]
async fn callers_that_leave_cost_nothing() {
    let gate = Gate::new(LIMITS);
    let permits = all(&gate, Class::Search);
    for _ in 0..100 {
        assert!(gate.enter(Class::Search, None).now_or_never().is_none());
    }
    drop(permits);
    assert_eq!(all(&gate, Class::Search).len(), 7);
}
