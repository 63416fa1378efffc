//! What requests that change a bucket say.

use std::ops::RangeInclusive;

use bytes::Bytes;
use percent_encoding::utf8_percent_encode;

use super::{Common, Draft, Header, PATH, QUERY};
use crate::s3::{CopyRequest, ETag, Key, PutCondition, RenameRequest};

impl Common {
    /// PutObject, without what [`Self::stored_as`] says.
    pub(in crate::s3) fn put(&self, key: &Key, body: Bytes) -> Draft {
        let mut draft = self.draft("PUT", self.object_path(key));
        draft.body = body;
        draft
    }

    /// DeleteObject.
    pub(in crate::s3) fn delete(&self, key: &Key) -> Draft {
        self.draft("DELETE", self.object_path(key))
    }

    /// CopyObject, without what [`Self::stored_as`] says.
    pub(in crate::s3) fn copy(&self, bucket: &str, request: &CopyRequest) -> Draft {
        let mut draft = self.draft("PUT", self.object_path(&request.to));
        copy_source(&mut draft, bucket, &request.from, &request.version);
        condition(&mut draft, &request.condition);
        empty_body(&mut draft);
        draft
    }

    /// RenameObject. `token` makes several tries one.
    pub(in crate::s3) fn rename(&self, request: &RenameRequest, token: String) -> Draft {
        let path = format!("{}?renameObject", self.object_path(&request.to));
        let mut draft = self.draft("PUT", path);
        let source = utf8_percent_encode(request.from.as_str(), PATH);
        draft.header("x-amz-rename-source", source.to_string());
        if let Some(version) = &request.version {
            draft.header("x-amz-rename-source-if-match", version.text());
        }
        if !request.replace {
            draft.header("If-None-Match", "*");
        }
        draft.header("x-amz-client-token", token);
        empty_body(&mut draft);
        draft
    }

    /// CreateMultipartUpload, without what [`Self::stored_as`] says.
    pub(in crate::s3) fn create_upload(&self, key: &Key) -> Draft {
        let path = format!("{}?uploads", self.object_path(key));
        let mut draft = self.draft("POST", path);
        empty_body(&mut draft);
        draft
    }

    /// UploadPart.
    pub(in crate::s3) fn upload_part(
        &self,
        key: &Key,
        upload_id: &str,
        number: u16,
        body: Bytes,
    ) -> Draft {
        let path = format!("{}&partNumber={number}", self.upload_path(key, upload_id));
        let mut draft = self.draft("PUT", path);
        draft.body = body;
        draft
    }

    /// UploadPartCopy of the source's bytes `range`.
    pub(in crate::s3) fn copy_part(
        &self,
        bucket: &str,
        request: &CopyRequest,
        upload_id: &str,
        number: u16,
        range: &RangeInclusive<u64>,
    ) -> Draft {
        let path = self.upload_path(&request.to, upload_id);
        let mut draft = self.draft("PUT", format!("{path}&partNumber={number}"));
        copy_source(&mut draft, bucket, &request.from, &request.version);
        let range = format!("bytes={}-{}", range.start(), range.end());
        draft.header("x-amz-copy-source-range", range);
        empty_body(&mut draft);
        draft
    }

    /// CompleteMultipartUpload of an object of `size` bytes; `parts` is the document that names its
    /// parts.
    pub(in crate::s3) fn complete_upload(
        &self,
        key: &Key,
        upload_id: &str,
        parts: String,
        size: u64,
        when: &PutCondition,
    ) -> Draft {
        let mut draft = self.draft("POST", self.upload_path(key, upload_id));
        draft.header("Content-Type", "application/xml");
        draft.header("x-amz-mp-object-size", size.to_string());
        condition(&mut draft, when);
        draft.body = parts.into();
        draft
    }

    /// AbortMultipartUpload.
    pub(in crate::s3) fn abort_upload(&self, key: &Key, upload_id: &str) -> Draft {
        self.draft("DELETE", self.upload_path(key, upload_id))
    }

    /// Headers of whatever stores an object: its class and its encryption.
    pub(in crate::s3) fn stored_as(&self) -> Vec<Header> {
        let mut headers = Vec::new();
        if let Some(class) = &self.storage_class {
            headers.push(("x-amz-storage-class".into(), class.clone()));
        }
        if let Some(encryption) = &self.encryption {
            headers.extend(encryption.headers());
        }
        headers
    }

    fn upload_path(&self, key: &Key, upload_id: &str) -> String {
        let id = utf8_percent_encode(upload_id, QUERY);
        format!("{}?uploadId={id}", self.object_path(key))
    }
}

/// Says when to store.
pub(in crate::s3) fn condition(draft: &mut Draft, condition: &PutCondition) {
    match condition {
        PutCondition::Any => {}
        PutCondition::Absent => draft.header("If-None-Match", "*"),
        PutCondition::Version(etag) => draft.header("If-Match", etag.text()),
    }
}

/// The object behind an access point is named by the access point's ARN and the word `object`.
fn copy_source(draft: &mut Draft, bucket: &str, key: &Key, version: &ETag) {
    let key = utf8_percent_encode(key.as_str(), PATH);
    let object = if bucket.starts_with("arn:") {
        "object/"
    } else {
        ""
    };
    let bucket = utf8_percent_encode(bucket, PATH);
    draft.header("x-amz-copy-source", format!("{bucket}/{object}{key}"));
    draft.header("x-amz-copy-source-if-match", version.text());
}

/// The CRT says nothing of a body that is not there, which some servers take for a mistake.
fn empty_body(draft: &mut Draft) {
    draft.header("Content-Length", "0");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common() -> Common {
        Common {
            path: "/bkt".to_owned(),
            ..Common::default()
        }
    }

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn header<'a>(draft: &'a Draft, name: &str) -> Option<&'a str> {
        let mut found = draft.headers.iter().filter(|(other, _)| other == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    #[test]
    fn rename_names_source_and_conditions() {
        let mut request = RenameRequest {
            from: key("a b/ü"),
            version: Some(ETag::new("\"v\"")),
            to: key("c?d"),
            replace: false,
        };
        let draft = common().rename(&request, "token".to_owned());
        assert_eq!(draft.method, "PUT");
        assert_eq!(draft.path_and_query, "/bkt/c%3Fd?renameObject");
        assert_eq!(header(&draft, "x-amz-rename-source"), Some("a%20b/%C3%BC"));
        let version = header(&draft, "x-amz-rename-source-if-match");
        assert_eq!(version, Some("\"v\""));
        assert_eq!(header(&draft, "If-None-Match"), Some("*"));
        request.replace = true;
        request.version = None;
        let draft = common().rename(&request, "token".to_owned());
        assert_eq!(header(&draft, "If-None-Match"), None);
        assert_eq!(header(&draft, "x-amz-rename-source-if-match"), None);
    }

    #[test]
    fn copies_name_the_source_with_its_bucket_and_version() {
        let request = CopyRequest {
            from: key("a b"),
            version: ETag::new("\"v\""),
            size: 10,
            to: key("c"),
            condition: PutCondition::Version(ETag::new("\"w\"")),
            metadata: None,
        };
        let draft = common().copy("bkt", &request);
        assert_eq!(header(&draft, "x-amz-copy-source"), Some("bkt/a%20b"));
        let arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap";
        let behind = common().copy(arn, &request);
        let source = "arn%3Aaws%3As3%3Aeu-west-1%3A123456789012%3Aaccesspoint/ap/object/a%20b";
        assert_eq!(header(&behind, "x-amz-copy-source"), Some(source));
        assert_eq!(header(&draft, "If-Match"), Some("\"w\""));
        let part = common().copy_part("bkt", &request, "i/d", 7, &(0..=4));
        assert_eq!(part.path_and_query, "/bkt/c?uploadId=i%2Fd&partNumber=7");
        assert_eq!(header(&part, "x-amz-copy-source-range"), Some("bytes=0-4"));
        assert_eq!(header(&part, "If-Match"), None);
        for draft in [&draft, &part] {
            let version = header(draft, "x-amz-copy-source-if-match");
            assert_eq!(version, Some("\"v\""));
        }
    }

    #[test]
    fn only_the_end_of_an_upload_has_the_condition() {
        let (common, key) = (common(), key("k"));
        let create = common.create_upload(&key);
        assert_eq!(create.path_and_query, "/bkt/k?uploads");
        let part = common.upload_part(&key, "id", 1, Bytes::new());
        let absent = PutCondition::Absent;
        let complete = common.complete_upload(&key, "id", String::new(), 3, &absent);
        assert_eq!(header(&create, "If-None-Match"), None);
        assert_eq!(header(&part, "If-None-Match"), None);
        assert_eq!(header(&complete, "If-None-Match"), Some("*"));
        assert_eq!(header(&complete, "x-amz-mp-object-size"), Some("3"));
    }
}
