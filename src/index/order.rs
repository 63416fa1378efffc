//! Texts in byte order.

/// The least text after `key`.
pub(super) fn after_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The least text after all that begin with `prefix`, which is empty or ends in `/`; `None` when
/// nothing comes after them.
pub(super) fn after_all(prefix: &[u8]) -> Option<Vec<u8>> {
    (!prefix.is_empty()).then(|| after_group(prefix))
}

/// The least text after all that begin with `group`, which ends in `/`.
pub(super) fn after_group(group: &[u8]) -> Vec<u8> {
    let mut next = group.to_vec();
    if let Some(slash) = next.last_mut() {
        *slash = b'/' + 1;
    }
    next
}
