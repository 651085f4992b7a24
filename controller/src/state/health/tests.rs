use super::*;

fn answer(passed: bool) -> Answer {
    Answer { passed, reached: true, text: String::new(), took: Duration::ZERO }
}

fn judged(health: &mut Health, answers: &[bool]) -> Vec<Option<bool>> {
    answers.iter().map(|&passed| health.record(answer(passed), 2, 3)).collect()
}

#[test]
fn it_takes_rise_passes_in_a_row_to_come_up_and_fall_failures_to_go_down() {
    let mut health = Health::unjudged(false);
    assert_eq!(judged(&mut health, &[false]), [None]);
    assert_eq!(judged(&mut health, &[true, false, true, true]), [None, None, None, Some(true)]);
    assert_eq!(
        judged(&mut health, &[false, false, true, false, false, false]),
        [None, None, None, None, None, Some(false)]
    );
}

#[test]
fn an_endpoint_that_flaps_never_changes_its_state() {
    let mut health = Health::unjudged(true);
    let flapping: Vec<bool> = (0..60).map(|n| n % 2 == 0).collect();
    assert!(judged(&mut health, &flapping).iter().all(Option::is_none));
    assert!(health.up());
}

#[test]
fn who_served_before_the_restart_is_trusted_until_it_has_failed_fall_times() {
    let mut health = Health::unjudged(true);
    assert!(health.up());
    assert_eq!(judged(&mut health, &[false, false, false]), [None, None, Some(false)]);
}

#[test]
fn a_new_endpoint_is_up_with_its_first_pass() {
    let mut health = Health::unjudged(false);
    assert!(!health.up());
    assert_eq!(judged(&mut health, &[true]), [Some(true)]);
}
