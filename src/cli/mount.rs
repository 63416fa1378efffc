//! stub
use super::config::Config;
use super::exit::Failure;
pub(super) struct Mounted;
pub(super) fn start(config: &Config, stage: &mut dyn FnMut(&str)) -> Result<Mounted, Failure> {
    stage("checking the mount point");
    super::checks::check_mount_point(&config.directory)?;
    super::logging::start(&config.log)?;
    log::debug!("{config:?}");
    Err(Failure::new("stub"))
}
impl Mounted {
    pub(super) fn serve(self) {}
    pub(super) fn end(self) {}
}
