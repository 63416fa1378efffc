//! The region of an availability zone's id: `use1-az4` is in `us-east-1`.

/// The region that a zone's id is in, if the id has the usual form: an area, a direction and a
/// number, as in `apne1-az4`; the zone follows.
/// AWS: [availability zone ids](https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html).
pub(super) fn region_of(zone: &str) -> Option<String> {
    let (place, _zone) = zone.split_once('-')?;
    let digits = place.find(|c: char| c.is_ascii_digit())?;
    let (letters, number) = place.split_at(digits);
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The partition of the US government has its mark between area and direction.
    let (area, direction) = match letters.strip_prefix("usg") {
        Some(direction) => ("us-gov", direction),
        None => letters.split_at_checked(2)?,
    };
    let (_, direction) = DIRECTIONS.iter().find(|(short, _)| *short == direction)?;
    Some(format!("{area}-{direction}-{number}"))
}

const DIRECTIONS: [(&str, &str); 9] = [
    ("n", "north"),
    ("ne", "northeast"),
    ("e", "east"),
    ("se", "southeast"),
    ("s", "south"),
    ("sw", "southwest"),
    ("w", "west"),
    ("nw", "northwest"),
    ("c", "central"),
];
