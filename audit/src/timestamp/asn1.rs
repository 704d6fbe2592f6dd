//! What is sent to a time-stamping authority and what comes back (RFC 3161, 2.4), in DER and in no other encoding. Nothing
//! that is read here is believed yet. Own types rather than a library's: see ADR 0013.

use cms::cert::x509::ext::Extensions;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::content_info::ContentInfo;
use der::asn1::{AnyRef, BitString, Int, ObjectIdentifier, OctetString};
use der::{
    Any, DateTime, Decode, DecodeValue, EncodeValue, FixedTag, Header, Length, Reader, Sequence, SliceReader,
    Tag, Tagged, Writer,
};

/// LIMIT: values in one value. `der` sorts a set by insertion, which takes the square of their number.
const VALUES: usize = 64;

/// Whether no set or sequence in this DER holds more than [`VALUES`] others.
pub(super) fn uncrowded(bytes: &[u8]) -> der::Result<bool> {
    let mut inside = vec![bytes];
    while let Some(content) = inside.pop() {
        let (mut reader, mut values) = (SliceReader::new(content)?, 0);
        while !reader.is_finished() {
            let value = AnyRef::decode(&mut reader)?;
            values += 1;
            if values > VALUES {
                return Ok(false);
            }
            if value.tag().is_constructed() {
                inside.push(value.value());
            }
        }
    }
    Ok(true)
}

/// A message, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(super) struct MessageImprint {
    pub(super) hash_algorithm: AlgorithmIdentifierOwned,
    pub(super) hashed_message: OctetString,
}

/// `TimeStampReq`, without the fields that are never sent.
#[derive(Clone, Debug, Sequence)]
pub(super) struct TimeStampReq {
    pub(super) version: u8,
    pub(super) message_imprint: MessageImprint,
    pub(super) nonce: Int,
    pub(super) cert_req: bool,
}

/// `PKIStatusInfo` (RFC 3161, 2.4.2).
#[derive(Clone, Debug, Sequence)]
pub(super) struct StatusInfo {
    pub(super) status: u8,
    #[asn1(optional = "true")]
    pub(super) text: Option<Vec<String>>,
    #[asn1(optional = "true")]
    pub(super) failure: Option<BitString>,
}

/// `TimeStampResp`.
#[derive(Clone, Debug, Sequence)]
pub(super) struct TimeStampResp {
    pub(super) status: StatusInfo,
    #[asn1(optional = "true")]
    pub(super) token: Option<ContentInfo>,
}

/// `Accuracy`.
#[derive(Clone, Debug, Sequence)]
pub(super) struct Accuracy {
    #[asn1(optional = "true")]
    pub(super) seconds: Option<u32>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) micros: Option<u16>,
}

/// `TSTInfo`: what the authority signs.
#[derive(Clone, Debug, Sequence)]
pub(super) struct TstInfo {
    pub(super) version: u8,
    pub(super) policy: ObjectIdentifier,
    pub(super) message_imprint: MessageImprint,
    pub(super) serial_number: Int,
    pub(super) gen_time: GenTime,
    #[asn1(optional = "true")]
    pub(super) accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    pub(super) ordering: bool,
    #[asn1(optional = "true")]
    pub(super) nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) tsa: Option<Any>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) extensions: Option<Extensions>,
}

/// `ESSCertIDv2` (RFC 5035, 4).
#[derive(Clone, Debug, Sequence)]
pub(super) struct EssCertIdV2 {
    #[asn1(optional = "true")]
    pub(super) hash_algorithm: Option<AlgorithmIdentifierOwned>,
    pub(super) hash: OctetString,
    #[asn1(optional = "true")]
    pub(super) issuer_serial: Option<Any>,
}

/// `SigningCertificateV2` (RFC 5035, 3).
#[derive(Clone, Debug, Sequence)]
pub(super) struct SigningCertificateV2 {
    pub(super) certificates: Vec<EssCertIdV2>,
    #[asn1(optional = "true")]
    pub(super) policies: Option<Any>,
}

/// `GeneralizedTime` with or without a fraction, which `der`'s own refuses and RFC 3161 allows.
#[derive(Clone, Debug)]
pub(super) struct GenTime(Vec<u8>);

impl GenTime {
    /// Milliseconds since 1970, and what is finer cut off; `None` for what is not `YYYYMMDDhhmmss[.s...]Z`.
    pub(super) fn unix_ms(&self) -> Option<i64> {
        let text = std::str::from_utf8(&self.0).ok()?.strip_suffix('Z')?;
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() != 14 || !digits(whole) {
            return None;
        }
        let two = |at: usize| whole.get(at..at + 2)?.parse::<u8>().ok();
        let year = whole.get(..4)?.parse().ok()?;
        let at = DateTime::new(year, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?).ok()?;
        let ms = match fraction {
            None => 0,
            Some(fraction) if (1..=9).contains(&fraction.len()) && digits(fraction) => {
                format!("{fraction:0<3}").get(..3)?.parse().ok()?
            }
            Some(_) => return None,
        };
        i64::try_from(at.unix_duration().as_millis()).ok()?.checked_add(ms)
    }
}

impl FixedTag for GenTime {
    const TAG: Tag = Tag::GeneralizedTime;
}

impl<'a> DecodeValue<'a> for GenTime {
    fn decode_value<R: Reader<'a>>(reader: &mut R, header: Header) -> der::Result<Self> {
        reader.read_vec(header.length).map(Self)
    }
}

impl EncodeValue for GenTime {
    fn value_len(&self) -> der::Result<Length> {
        self.0.len().try_into()
    }

    fn encode_value(&self, writer: &mut impl Writer) -> der::Result<()> {
        writer.write(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_or_none_and_no_other_form() {
        let ms = |text: &str| GenTime(text.into()).unix_ms();
        assert_eq!(ms("20230607112626Z"), Some(1_686_137_186_000));
        assert_eq!(ms("20230607112626.5Z"), Some(1_686_137_186_500));
        assert_eq!(ms("20230607112626.123456Z"), Some(1_686_137_186_123));
        for bad in [
            "",
            "Z",
            "20230607112626",
            "202306071126Z",
            "20230607112626.Z",
            "20230607112626+0100",
            "20231307112626Z",
            "20230607112626.1234567890Z",
            "2023060711262\u{663}Z",
        ] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }
}
