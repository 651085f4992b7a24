//! A text is either a config, the same one each time, or a report that says where and what.
#![no_main]

use std::path::Path;

use cutover_controller::config::Config;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let path = Path::new("cutover.toml");
    match Config::parse(path, text) {
        Ok(config) => {
            assert_eq!(Config::parse(path, text).ok().as_ref(), Some(&config));
            for route in config.routes() {
                assert!(config.services.contains_key(route.service));
                assert!(route.path.starts_with('/'));
            }
        }
        Err(report) => {
            assert!(report.count() > 0);
            assert!(report.render().contains("cutover.toml"));
        }
    }
});
