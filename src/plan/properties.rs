//! stub
pub(super) struct E;
impl E {
    pub(super) fn refusal(&self, _: &str, _: &str) -> super::fault::Refusal {
        super::fault::Refusal::new("", "")
    }
}
pub(super) fn parse(_: &str, _: &str) -> Result<(), E> {
    Ok(())
}
