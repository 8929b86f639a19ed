//! Many events with many faults through one process; the program `soak` has the whole of it.

use std::process::Command;

#[test]
fn of_many_events_with_faults_none_is_lost_or_answered_twice_and_nothing_grows() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--events", "2000", "--faults", "100"])
        .output()
        .unwrap();
    let (report, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{report}{errors}");
    assert!(report.contains("lost 0, doubled 0, wrong 0"), "{report}");
}
