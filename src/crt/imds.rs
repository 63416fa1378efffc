//! The metadata service of EC2 instances (IMDS).

use std::ffi::{c_int, c_void};
use std::future::Future;
use std::ptr::NonNull;

use crt_sys as sys;
use futures::channel::oneshot;

use super::bytes::text;
use super::callback::guard_or_log;
use super::error::{Error, check};
use super::handle::{Handle, ThreadSafe, ref_counted};
use super::live::{Keep, Kind};
use super::runtime::{Runtime, into_user_data, on_shutdown, reclaim};

/// A client of the metadata service: that of `AWS_EC2_METADATA_SERVICE_ENDPOINT`, else that of
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE`, else `http://169.254.169.254`. Never by a proxy.
#[derive(Debug)]
pub struct InstanceMetadata {
    handle: Handle<sys::aws_imds_client>,
    _keep: Keep,
}

/// What an instance says of itself; empty is what it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceInfo {
    /// `c5n.18xlarge`
    pub instance_type: String,
    /// `eu-central-1`
    pub region: String,
}

impl InstanceMetadata {
    /// Makes a client. Nothing is connected yet. Wraps `aws_imds_client_new`.
    ///
    /// # Errors
    /// `AWS_ERROR_OOM`.
    pub fn new(runtime: &Runtime) -> Result<Self, Error> {
        let shared = runtime.shared();
        let user_data = into_user_data(shared.keep(Kind::Credentials));
        // SAFETY: a C struct that C itself starts from zero (aws/auth/aws_imds_client.h).
        let mut options: sys::aws_imds_client_options = unsafe { std::mem::zeroed() };
        options.shutdown_options.shutdown_callback = Some(on_shutdown);
        options.shutdown_options.shutdown_user_data = user_data;
        options.bootstrap = runtime.bootstrap();
        // SAFETY: the options are copied, the bootstrap is acquired during the call
        // (aws/auth/aws_imds_client.h).
        let client = unsafe { sys::aws_imds_client_new(shared.allocator(), &raw const options) };
        // SAFETY: a new reference, or NULL.
        let handle = unsafe { Handle::adopt(client) };
        if handle.is_err() {
            // SAFETY: the callback belongs to the client, and there is none.
            unsafe { reclaim(user_data) };
        }
        Ok(Self {
            handle: handle?,
            _keep: shared.keep(Kind::Wrapper),
        })
    }

    /// Asks for the instance's identity document. Starts at once, not at the first poll. Where there
    /// is no such service this fails after 2 to 8 seconds, or at once.
    /// Wraps `aws_imds_client_get_instance_info`.
    ///
    /// # Errors
    /// No connection, no answer, or one that is no such document.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the work running; its result is thrown away.
    pub fn info(&self) -> impl Future<Output = Result<InstanceInfo, Error>> + Send + use<> {
        let (sender, receiver) = oneshot::channel::<Result<InstanceInfo, Error>>();
        let user_data = Box::into_raw(Box::new(sender));
        // SAFETY: a live client, which a query keeps; the user data lives until the callback, which C
        // calls once if and only if this succeeds (aws_imds_client.c).
        let started = check(unsafe {
            sys::aws_imds_client_get_instance_info(
                self.handle.as_ptr(),
                Some(on_info),
                user_data.cast(),
            )
        });
        if let Err(error) = started {
            // SAFETY: the callback does not come, so the box is still ours.
            let sender = unsafe { Box::from_raw(user_data) };
            // The receiver exists, so this cannot fail.
            let _ = sender.send(Err(error));
        }
        async move {
            receiver.await.unwrap_or_else(|oneshot::Canceled| {
                Err(Error::from_constant(sys::AWS_ERROR_S3_CANCELED))
            })
        }
    }
}

unsafe extern "C" fn on_info(
    info: *const sys::aws_imds_instance_info,
    error_code: c_int,
    user_data: *mut c_void,
) {
    // SAFETY: from `info`, given back here, once (aws_imds_client.c).
    let sender =
        unsafe { Box::from_raw(user_data.cast::<oneshot::Sender<Result<InstanceInfo, Error>>>()) };
    guard_or_log("a callback of the metadata service", move || {
        let result = NonNull::new(info.cast_mut())
            .filter(|_| error_code == 0)
            .ok_or_else(|| Error::from_code(error_code))
            .map(|info| {
                // SAFETY: live during the callback (aws/auth/aws_imds_client.h).
                let info = unsafe { info.as_ref() };
                InstanceInfo {
                    // SAFETY: points into the document, which lives as long.
                    instance_type: unsafe { text(info.instance_type) }.into_owned(),
                    // SAFETY: as above.
                    region: unsafe { text(info.region) }.into_owned(),
                }
            });
        // Nobody may be waiting any more.
        let _unheard = sender.send(result);
    });
}

ref_counted!(
    aws_imds_client,
    aws_imds_client_acquire,
    aws_imds_client_release
);

// SAFETY: what changes is behind a lock, and the count is atomic (aws_imds_client.c).
unsafe impl ThreadSafe for sys::aws_imds_client {}

const _: () = {
    static_assertions::assert_impl_all!(InstanceMetadata: Send, Sync);
};
