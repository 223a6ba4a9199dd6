//! Streams unpacked up to a size. lopdf unpacks without bound, and takes what memory was left for all there is.

use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};
use pdf_extract::{Object, Stream};

/// Most that one stream may hold; a dense page has 100 KB, a detailed map or a large font some MB.
const MAX_STREAM_BYTES: u64 = 64 << 20;

/// Why a stream gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// It holds more than [`MAX_STREAM_BYTES`].
    TooLarge,
    /// It is packed in a way that is not known.
    Unknown,
}

/// The content of a stream. Of a damaged one that which comes before the damage.
///
/// # Errors
/// Why there is none.
pub(super) fn unpack(stream: &Stream) -> Result<Vec<u8>, Packed> {
    let filters = stream.filters().unwrap_or_default();
    let is_plain = stream.dict.get(b"DecodeParms").is_err();
    let content = if is_plain && filters.iter().all(|filter| *filter == b"FlateDecode") {
        let mut content = None;
        for _ in filters {
            content = Some(inflated(content.as_deref().unwrap_or(&stream.content))?);
        }
        content.unwrap_or_else(|| stream.content.clone())
    } else {
        stream.get_plain_content().map_err(|_| Packed::Unknown)?
    };
    if content.len() as u64 > MAX_STREAM_BYTES { Err(Packed::TooLarge) } else { Ok(content) }
}

/// The same for an object that should be a stream.
pub(super) fn unpack_object(object: &Object) -> Option<Vec<u8>> {
    unpack(object.as_stream().ok()?).ok()
}

fn inflated(packed: &[u8]) -> Result<Vec<u8>, Packed> {
    let mut content = up_to_damage(ZlibDecoder::new(packed));
    if content.is_empty() && packed.len() > 2 {
        // Some writers forget the two bytes before the data, or spoil them.
        content = up_to_damage(DeflateDecoder::new(&packed[2..]));
    }
    if content.len() as u64 > MAX_STREAM_BYTES { Err(Packed::TooLarge) } else { Ok(content) }
}

fn up_to_damage(decoder: impl Read) -> Vec<u8> {
    let mut content = Vec::new();
    // What was read before an error stays.
    let _damage = decoder.take(MAX_STREAM_BYTES + 1).read_to_end(&mut content);
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdf_extract::Dictionary;
    use std::io::Write;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).expect("memory takes everything");
        encoder.finish().expect("memory takes everything")
    }

    fn stream(filters: &[&str], content: Vec<u8>) -> Stream {
        let mut dictionary = Dictionary::new();
        let names = filters.iter().map(|filter| Object::Name(filter.as_bytes().to_vec())).collect::<Vec<_>>();
        dictionary.set("Filter", names);
        Stream::new(dictionary, content)
    }

    #[test]
    fn a_stream_is_unpacked_once_for_each_filter() {
        assert_eq!(unpack(&stream(&["FlateDecode"], deflated(b"one"))), Ok(b"one".to_vec()));
        assert_eq!(unpack(&stream(&["FlateDecode"; 2], deflated(&deflated(b"two")))), Ok(b"two".to_vec()));
        assert_eq!(unpack(&Stream::new(Dictionary::new(), b"none".to_vec())), Ok(b"none".to_vec()));
        assert_eq!(unpack(&stream(&["Unheard"], b"x".to_vec())), Err(Packed::Unknown));
    }

    #[test]
    fn what_comes_before_damage_is_kept() {
        let mut packed = deflated("a rather long text, ".repeat(99).as_bytes());
        packed.truncate(packed.len() - 9);
        assert!(unpack(&stream(&["FlateDecode"], packed)).is_ok_and(|content| content.starts_with(b"a rather long")));
    }

    #[test]
    fn a_bomb_is_too_large() {
        let bomb = deflated(&vec![0; 65 << 20]);
        assert_eq!(unpack(&stream(&["FlateDecode"], bomb.clone())), Err(Packed::TooLarge));
        assert_eq!(unpack(&stream(&["FlateDecode"; 2], deflated(&bomb))), Err(Packed::TooLarge));
    }
}
