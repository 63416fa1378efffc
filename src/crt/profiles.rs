//! The configuration and credentials files that the AWS tools share.

use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use crt_sys as sys;

use super::bytes::{cursor, optional_cursor, text};
use super::error::{Error, check, check_ptr};
use super::handle::{Handle, ThreadSafe, ref_counted};
use super::live::{Keep, Kind};
use super::runtime::Runtime;

/// Which profile to read, and from where; the defaults are those of the AWS command line tools,
/// environment variables included.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProfileOptions<'a> {
    /// The profile; default `AWS_PROFILE`, then `default`.
    pub name: Option<&'a str>,
    /// The configuration file; default `AWS_CONFIG_FILE`, then `~/.aws/config`.
    pub config_file: Option<&'a str>,
    /// The credentials file; default `AWS_SHARED_CREDENTIALS_FILE`, then `~/.aws/credentials`.
    pub credentials_file: Option<&'a str>,
}

/// What the two files say, as they were when this was made.
#[derive(Debug, Clone)]
pub struct Profiles {
    handle: Handle<sys::aws_profile_collection>,
    selected: String,
    config_file: ProfileFile,
    credentials_file: ProfileFile,
    keep: Keep,
}

/// One of the two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileFile {
    /// Where it is, or would be.
    pub path: String,
    /// Why it says nothing: it does not exist, cannot be read or has a wrong syntax.
    pub failure: Option<Error>,
}

impl Profiles {
    /// Reads the files. One that is missing is as good as an empty one.
    /// Wraps `aws_profile_collection_new_from_file` and `aws_profile_collection_new_from_merge`.
    ///
    /// # Errors
    /// No home directory, and no paths given.
    pub fn read(runtime: &Runtime, options: &ProfileOptions<'_>) -> Result<Self, Error> {
        let keep = runtime.shared().keep(Kind::Wrapper);
        let allocator = keep.shared().allocator();
        let name = optional_cursor(options.name);
        // SAFETY: the text is copied during the call (aws/sdkutils/aws_profile.h).
        let selected = unsafe { sys::aws_get_profile_name(allocator, &raw const name) };
        // SAFETY: a new string, or NULL with an error.
        let selected = unsafe { Text::adopt(selected) }?.to_text();
        let path = optional_cursor(options.config_file);
        // SAFETY: as above.
        let path = unsafe { sys::aws_get_config_file_path(allocator, &raw const path) };
        // SAFETY: as above.
        let path = unsafe { Text::adopt(path) }?;
        let (config, config_file) = read_file(allocator, &path, sys::AWS_PST_CONFIG);
        let path = optional_cursor(options.credentials_file);
        // SAFETY: as above.
        let path = unsafe { sys::aws_get_credentials_file_path(allocator, &raw const path) };
        // SAFETY: as above.
        let path = unsafe { Text::adopt(path) }?;
        let (credentials, credentials_file) = read_file(allocator, &path, sys::AWS_PST_CREDENTIALS);
        let raw =
            |handle: &Option<Handle<_>>| handle.as_ref().map_or(ptr::null_mut(), Handle::as_ptr);
        // SAFETY: live collections or NULL, which C takes for empty ones; what they have is copied
        // (aws_profile.c).
        let merged = unsafe {
            sys::aws_profile_collection_new_from_merge(allocator, raw(&config), raw(&credentials))
        };
        Ok(Self {
            // SAFETY: a new reference, or NULL.
            handle: unsafe { Handle::adopt(merged) }?,
            selected,
            config_file,
            credentials_file,
            keep,
        })
    }

    /// The name of the profile that counts: that which was asked for, else that of `AWS_PROFILE`,
    /// else `default`.
    pub fn selected(&self) -> &str {
        &self.selected
    }

    /// The configuration file.
    pub fn config_file(&self) -> &ProfileFile {
        &self.config_file
    }

    /// The credentials file.
    pub fn credentials_file(&self) -> &ProfileFile {
        &self.credentials_file
    }

    /// Whether there is a profile of this name.
    pub fn has(&self, profile: &str) -> bool {
        self.find(profile).is_some()
    }

    /// What a profile says of `property`. Wraps `aws_profile_get_property`.
    pub fn property(&self, profile: &str, property: &str) -> Option<String> {
        self.property_of(self.find(profile)?, property)
    }

    fn property_of(&self, profile: NonNull<sys::aws_profile>, property: &str) -> Option<String> {
        let property = Text::new(self.keep.shared().allocator(), property).ok()?;
        // SAFETY: a live profile, by `self`; the text is read during the call
        // (aws/sdkutils/aws_profile.h).
        let found = unsafe { sys::aws_profile_get_property(profile.as_ptr(), property.as_ptr()) };
        let found = NonNull::new(found.cast_mut())?;
        // SAFETY: a live property, by `self`, whose value lives as long (aws_profile.c).
        let value = unsafe { sys::aws_profile_property_get_value(found.as_ptr()) };
        // SAFETY: a live string.
        Some(unsafe { string_text(value) })
    }

    /// What a session of IAM Identity Center (`[sso-session NAME]`) says of `property`.
    /// Wraps `aws_profile_collection_get_section`.
    pub fn session_property(&self, session: &str, property: &str) -> Option<String> {
        let name = Text::new(self.keep.shared().allocator(), session).ok()?;
        // SAFETY: a live collection; the text is read during the call (aws/sdkutils/aws_profile.h).
        let found = unsafe {
            sys::aws_profile_collection_get_section(
                self.as_ptr(),
                sys::AWS_PROFILE_SECTION_TYPE_SSO_SESSION,
                name.as_ptr(),
            )
        };
        self.property_of(NonNull::new(found.cast_mut())?, property)
    }

    /// Where the AWS tools keep the token of a session of IAM Identity Center: below the home
    /// directory, under the SHA-1 of the session's name.
    /// Wraps `aws_get_home_directory` and `aws_sha1_compute`.
    pub fn session_file(&self, session: &str) -> Option<PathBuf> {
        let allocator = self.keep.shared().allocator();
        // SAFETY: a live allocator (aws/common/file.h).
        let home = unsafe { sys::aws_get_home_directory(allocator) };
        // SAFETY: a new string, or NULL with an error.
        let home = unsafe { Text::adopt(home) }.ok()?.to_text();
        let mut digest = [0_u8; sys::AWS_SHA1_LEN as usize];
        let input = cursor(session.as_bytes());
        let mut output = sys::aws_byte_buf {
            len: 0,
            buffer: digest.as_mut_ptr(),
            capacity: digest.len(),
            allocator: ptr::null_mut(),
        };
        // SAFETY: the text is read during the call, and the digest fits into the buffer, which is
        // written during the call only (aws/cal/hash.h).
        check(unsafe { sys::aws_sha1_compute(allocator, &raw const input, &raw mut output, 0) })
            .ok()?;
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Path::new(&home).join(format!(".aws/sso/cache/{name}.json")))
    }

    /// The collection, live as long as `self`.
    pub(super) fn as_ptr(&self) -> *mut sys::aws_profile_collection {
        self.handle.as_ptr()
    }

    fn find(&self, profile: &str) -> Option<NonNull<sys::aws_profile>> {
        let name = Text::new(self.keep.shared().allocator(), profile).ok()?;
        // SAFETY: a live collection; the text is read during the call (aws/sdkutils/aws_profile.h).
        let found =
            unsafe { sys::aws_profile_collection_get_profile(self.as_ptr(), name.as_ptr()) };
        NonNull::new(found.cast_mut())
    }
}

fn read_file(
    allocator: *mut sys::aws_allocator,
    path: &Text,
    kind: sys::aws_profile_source_type,
) -> (Option<Handle<sys::aws_profile_collection>>, ProfileFile) {
    // SAFETY: the path is read during the call (aws/sdkutils/aws_profile.h).
    let read = unsafe { sys::aws_profile_collection_new_from_file(allocator, path.as_ptr(), kind) };
    // SAFETY: a new reference, or NULL with an error.
    let read = unsafe { Handle::adopt(read) };
    let file = ProfileFile {
        path: path.to_text(),
        failure: read.as_ref().err().copied(),
    };
    (read.ok(), file)
}

/// A string of C that is ours.
struct Text(NonNull<sys::aws_string>);

impl Text {
    /// Wraps `aws_string_new_from_cursor`.
    fn new(allocator: *mut sys::aws_allocator, text: &str) -> Result<Self, Error> {
        let source = cursor(text.as_bytes());
        // SAFETY: the text is copied during the call (aws/common/string.h).
        let string = unsafe { sys::aws_string_new_from_cursor(allocator, &raw const source) };
        // SAFETY: a new string, or NULL.
        unsafe { Self::adopt(string) }
    }

    /// # Safety
    /// `string` is NULL with the thread's last error set, or a string that nobody else owns.
    unsafe fn adopt(string: *mut sys::aws_string) -> Result<Self, Error> {
        check_ptr(string).map(Self)
    }

    fn as_ptr(&self) -> *const sys::aws_string {
        self.0.as_ptr()
    }

    fn to_text(&self) -> String {
        // SAFETY: a live string, by `self`.
        unsafe { string_text(self.as_ptr()) }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: ours, and not used again (aws/common/string.h).
        unsafe { sys::aws_string_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `string` is live.
unsafe fn string_text(string: *const sys::aws_string) -> String {
    // SAFETY: live, by this function's contract (aws/common/string.h).
    let cursor = unsafe { sys::aws_byte_cursor_from_string(string) };
    // SAFETY: spans the bytes of the string, which never change.
    unsafe { text(cursor) }.into_owned()
}

ref_counted!(
    aws_profile_collection,
    aws_profile_collection_acquire,
    aws_profile_collection_release
);

// SAFETY: never changed after it was made, and the count is atomic (aws_profile.c).
unsafe impl ThreadSafe for sys::aws_profile_collection {}

const _: () = {
    static_assertions::assert_impl_all!(Profiles: Send, Sync);
};
