//! Labels are settings that do not depend on what lies below them, or errors that name a label.
#![no_main]

use cutover_controller::labels::Labels;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    match Labels::parse(pairs) {
        Ok(Some(labels)) => {
            let once = labels.over(&Default::default());
            assert_eq!(labels.over(&once), once);
        }
        Ok(None) => {}
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
