use crate::downstream::client::Client;

#[test]
fn a_connection_that_sleeps_is_small() {
    fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }
    let sleeping = size(super::serve) + size_of::<Client>();
    assert!(sleeping < 700, "{sleeping} bytes");
}
