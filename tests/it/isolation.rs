//! How long an instance lives, and what passes from one event to the next: nothing, unless it was asked for.

use orlop_tests::{Event, guests};

use crate::Served;

#[test]
fn without_init_every_event_finds_fresh_memory() {
    let served = Served::new(guests::LEAK);
    for index in 0..5 {
        assert_eq!(served.answer(&format!("event-{index}"), "1000"), 1);
    }
}

#[test]
fn a_guest_that_exports_init_is_prepared_once_and_kept() {
    let served = Served::new(guests::COUNTER);
    assert_eq!(served.answer("a", "{}"), 101);
    assert_eq!(served.answer("b", "{}"), 102);
    served.host.wait_for_log(|line| line.contains("isolation=environment"));
}

#[test]
fn the_deployment_can_ask_for_a_fresh_instance_or_a_kept_one() {
    let served = Served::with_env(guests::COUNTER, &[("ORLOP_ISOLATION", "event")]);
    assert_eq!(
        (served.answer("a", "{}"), served.answer("b", "{}")),
        (101.into(), 101.into())
    );
    let served = Served::with_env(guests::LEAK, &[("ORLOP_ISOLATION", "environment")]);
    assert_eq!((served.answer("a", "1"), served.answer("b", "1")), (1.into(), 2.into()));
}

#[test]
fn a_kept_instance_survives_its_own_errors_and_not_a_trap() {
    let served = Served::with_env(guests::PANIC, &[("ORLOP_ISOLATION", "environment")]);
    served.failure("a", "\"boo\"");
    served.answer("b", "null");
    let served = Served::with_env(guests::LEAK, &[("ORLOP_ISOLATION", "environment")]);
    assert_eq!(served.answer("a", "1"), 1);
    served.failure("b", "\"not a number\"");
    assert_eq!(
        served.answer("c", "1"),
        2,
        "an error of the guest's own keeps the instance"
    );
    served.failure("d", "500000000");
    assert_eq!(served.answer("e", "1"), 1, "a trap does not");
}

#[test]
fn no_instance_serves_two_tenants() {
    let served = Served::with_env(guests::LEAK, &[("ORLOP_ISOLATION", "tenant")]);
    let seen = |id, tenant| served.ask(Event::new(id, "1").tenant_id(tenant)).json();
    assert_eq!(seen("a", "one"), 1);
    assert_eq!(seen("b", "one"), 2);
    assert_eq!(seen("c", "two"), 1);
    assert_eq!(seen("d", "one"), 1);
    assert_eq!(served.answer("e", "1"), 1, "no tenant is a tenant of its own");
}
