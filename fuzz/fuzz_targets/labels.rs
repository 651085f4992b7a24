//! Labels are settings that depend neither on their order, nor on labels that are not ours, nor on
//! what lies below them; or errors that name a label of ours, on one line.
#![no_main]

use std::collections::BTreeMap;

use cutover_controller::config::labels::{Labels, PREFIX};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let pairs: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=')).collect();
    let pairs: Vec<_> = pairs.into_iter().collect();
    let read = Labels::parse(pairs.iter().copied());
    let foreign = [("com.example.cutover.port", "1"), ("cutoverport", "1")];
    assert_eq!(Labels::parse(pairs.iter().rev().copied().chain(foreign)), read);
    match read {
        Ok(Some(labels)) => {
            let once = labels.over(&Default::default());
            assert_eq!(labels.over(&once), once);
        }
        Ok(None) => {
            assert!(
                pairs.iter().all(|(label, _)| !label.starts_with(PREFIX)
                    || label.starts_with("cutover.internal."))
                    || pairs.contains(&("cutover.enable", "false"))
            )
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert!(errors.0.iter().all(|error| error.label.starts_with(PREFIX)));
            assert!(!errors.to_string().contains(char::is_control));
        }
    }
});
