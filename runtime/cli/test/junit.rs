//! What came of scenarios, in the form that build servers read.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report;
use crate::testing::Outcome;

pub fn xml(outcomes: &[Outcome], took: Duration) -> String {
    let mut suite = TestSuite::new("reload");
    suite.set_time(took);
    for outcome in outcomes {
        let status = match &outcome.failure {
            None => TestCaseStatus::success(),
            Some(failure) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let wrong = &failure.wrong;
                status.set_message(format!("expected {}, found {}", wrong.expected, wrong.found));
                status.set_description(report::failure(outcome, failure));
                status
            }
        };
        let mut case = TestCase::new(outcome.name.as_str(), status);
        case.set_classname(outcome.file.display().to_string())
            .set_time(outcome.took)
            .set_system_err(outcome.log.as_str());
        suite.add_test_case(case);
    }
    let mut report = Report::new("wasmhost test");
    report.set_time(took).add_test_suite(suite);
    // Text is always XML.
    report.to_string().unwrap_or_default()
}
