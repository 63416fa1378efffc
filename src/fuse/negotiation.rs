//! What is agreed on with the kernel before its first request.

use fuser::{InitFlags, KernelConfig};
use log::debug;

use super::background::Background;
use super::served::Served;

/// Asks the kernel for what serves `served` best. A kernel that lacks some of it gives the rest.
pub(super) fn negotiate(served: &Served, background: Background, config: &mut KernelConfig) {
    let (is_costly, writes_back, stack_depth) = match served.fs() {
        Ok(fs) => (
            fs.has_costly_attributes(),
            fs.has_writeback_cache(),
            fs.stack_depth(),
        ),
        Err(_closed) => (false, false, None),
    };
    // Attributes come with the names where the kernel sees that they are used: three times
    // faster for `ls -l`, and without cost to `find`, which would be slowed down otherwise.
    // Where they are costly it matters more that many are asked for at a time.
    let readdirplus = [
        Some(InitFlags::FUSE_DO_READDIRPLUS),
        (!is_costly).then_some(InitFlags::FUSE_READDIRPLUS_AUTO),
    ];
    let writeback = writes_back.then_some(InitFlags::FUSE_WRITEBACK_CACHE);
    let chosen = readdirplus.into_iter().flatten().chain(writeback);
    for capability in WANTED_CAPABILITIES.into_iter().chain(chosen) {
        if config.add_capabilities(capability).is_err() {
            debug!("the kernel lacks {capability:?}");
        }
    }
    if let Some(depth) = stack_depth
        && (config
            .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
            .is_err()
            || config.set_max_stack_depth(depth).is_err())
    {
        debug!("the kernel reads no files of the cache by itself");
    }
    // Each of these takes any value but 0; on an older kernel they do less or nothing.
    let Background { max, congestion } = background;
    let congested = congestion.map(|threshold| config.set_congestion_threshold(threshold));
    if config.set_max_background(max).is_err()
        || config.set_max_write(MAX_REQUEST_BYTES).is_err()
        || congested.is_some_and(|set| set.is_err())
    {
        debug!("the kernel keeps its limits");
    }
}

/// Capabilities that are asked for one by one, so that an older kernel gives what it has.
const WANTED_CAPABILITIES: [InitFlags; 6] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_MAX_PAGES,
    // An open that truncates says so, and can be refused as what it is.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // An inode stands for one version, so a symbolic link never leads elsewhere.
    InitFlags::FUSE_CACHE_SYMLINKS,
];

/// The largest read and write request: as many pages as kernels allow unless told otherwise (256).
const MAX_REQUEST_BYTES: u32 = 1 << 20;
