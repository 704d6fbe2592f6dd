//! What crosses to a machine apart as text or pictures: uniform resources (BCR-2020-005), our files of type `bytes`, in parts of one QR
//! code each. Parts may be lost or come twice or in any order. What comes in is only as good as what its reader verifies.

use std::path::{Path, PathBuf};

use clap::Args;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::{Error, Output, file};

/// Bytes in one part: a QR code that a camera reads from a screen.
const PART_BYTES: usize = 300;
/// LIMIT: parts that are read.
const PARTS: usize = 65_536;
/// The one type: bytes that say themselves what they are.
const BYTES: &str = "bytes";

/// Where a file goes, and in which form.
#[derive(Args, Debug)]
pub struct Form {
    /// Where to write it; standard output without
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write it as UR parts, one a line
    #[arg(long)]
    ur: bool,
    /// Show it on the terminal as QR codes, each of one UR part
    #[arg(long, conflicts_with_all = ["ur", "out"])]
    qr: bool,
}

impl Form {
    /// Writes the file so.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Usage`] where standard output is a JSON document's.
    pub fn write(&self, bytes: &[u8], output: &Output) -> Result<(), Error> {
        if output.is_json() && self.out.is_none() {
            return Err(Error::Usage {
                detail: "with `--json` the file needs a place of its own".to_owned(),
                hint: "name one with `--out`",
            });
        }
        let text = match (self.ur, self.qr) {
            (false, false) => bytes.to_vec(),
            (_, true) => pictures(&parts(&Message::of_bytes(BYTES, bytes))?)?.into_bytes(),
            (true, false) => (parts(&Message::of_bytes(BYTES, bytes))?.join("\n") + "\n").into_bytes(),
        };
        match &self.out {
            Some(path) => {
                file::write_result(path, &text)?;
                output.say(&format!("written to `{}`", path.display()));
                Ok(())
            }
            None => output.bytes(&text),
        }
    }
}

/// What a uniform resource holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type, in small letters.
    pub kind: String,
    /// Its CBOR.
    pub cbor: Vec<u8>,
}

impl Message {
    /// Bytes of a type that is nothing else.
    pub fn of_bytes(kind: &str, bytes: &[u8]) -> Self {
        Self { kind: kind.to_owned(), cbor: byte_string(bytes) }
    }

    /// The bytes of such a type.
    pub fn bytes(&self) -> Option<&[u8]> {
        of_byte_string(&self.cbor)
    }
}

/// What was read.
pub enum Found {
    /// A file's own bytes.
    Plain(Vec<u8>),
    /// Of another type than `bytes`.
    Typed(Message),
}

/// Reads a file, or its UR parts; `-` is standard input.
///
/// # Errors
/// [`Error::File`], [`Error::Content`].
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    match read_any(path)? {
        Found::Plain(bytes) => Ok(bytes),
        Found::Typed(Message { kind, .. }) => {
            Err(Error::content(path, format!("is no whole UR: its type is `{kind}`, not `{BYTES}`")))
        }
    }
}

/// The same, or UR parts of whatever type.
///
/// # Errors
/// As [`read`].
pub fn read_any(path: &Path) -> Result<Found, Error> {
    let bytes = file::read_or_stdin(path)?;
    let is_ur = bytes.get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"ur:"));
    if !is_ur {
        return Ok(Found::Plain(bytes));
    }
    let wrong = |what: &str| Error::content(path, format!("is no whole UR: {what}"));
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::content(path, "is no UR"))?;
    let message = received(text).map_err(|what| wrong(&what))?;
    if message.kind != BYTES {
        return Ok(Found::Typed(message));
    }
    let bytes = message.bytes().ok_or_else(|| wrong("it holds something else than bytes"))?;
    Ok(Found::Plain(bytes.to_vec()))
}

/// The parts of a message, as many as it takes; a small one has one.
///
/// # Errors
/// [`Error::Failed`].
pub fn parts(message: &Message) -> Result<Vec<String>, Error> {
    let failed = |error: ur::ur::Error| Error::Failed(format!("it cannot be written as UR: {error}"));
    let Message { kind, cbor } = message;
    if cbor.len() <= PART_BYTES {
        return Ok(vec![ur::ur::try_encode(cbor, &ur::Type::Custom(kind)).map_err(failed)?]);
    }
    let mut encoder = ur::Encoder::new(cbor, PART_BYTES, kind).map_err(failed)?;
    (0..encoder.fragment_count()).map(|_| encoder.next_part().map_err(failed)).collect()
}

/// The message that parts are of, one a line.
///
/// # Errors
/// What they are not.
pub fn received(text: &str) -> Result<Message, String> {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() > PARTS {
        return Err(format!("more than {PARTS} parts"));
    }
    let told = |error: ur::ur::Error| error.to_string();
    let of = |kind: &str, cbor| Message { kind: kind.to_ascii_lowercase(), cbor };
    if let [one] = lines.as_slice()
        && let (ur::ur::Kind::SinglePart, cbor) = ur::ur::decode(one).map_err(told)?
    {
        let kind = one.get(3..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        return Ok(of(kind, cbor));
    }
    let mut decoder = ur::Decoder::default();
    for line in lines {
        decoder.receive(line).map_err(told)?;
    }
    let cbor = decoder.message().map_err(told)?.ok_or("parts are missing")?;
    Ok(of(decoder.ur_type().unwrap_or_default(), cbor))
}

/// A CBOR byte string (RFC 8949, 3.1), its length in the shortest form.
fn byte_string(bytes: &[u8]) -> Vec<u8> {
    const MAJOR: u8 = 2 << 5;
    let length = bytes.len() as u64;
    let mut message = match length {
        0..24 => vec![MAJOR | length as u8],
        24..0x100 => vec![MAJOR | 24, length as u8],
        0x100..0x1_0000 => [&[MAJOR | 25], &(length as u16).to_be_bytes()[..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[MAJOR | 26], &(length as u32).to_be_bytes()[..]].concat(),
        _ => [&[MAJOR | 27], &length.to_be_bytes()[..]].concat(),
    };
    message.extend(bytes);
    message
}

/// What is in one, if it is written as [`byte_string`] writes it.
fn of_byte_string(message: &[u8]) -> Option<&[u8]> {
    let head = match message.first()? & 0x1f {
        0..24 => 1,
        24 => 2,
        25 => 3,
        26 => 5,
        27 => 9,
        _ => return None,
    };
    let bytes = message.get(head..)?;
    (byte_string(bytes) == message).then_some(bytes)
}

/// Each part as a QR code, in half blocks: two rows a line, dark on light.
/// Parts as QR codes, one below the other.
///
/// # Errors
/// [`Error::Failed`] for a part that fits no code.
pub fn pictures(parts: &[String]) -> Result<String, Error> {
    let mut text = String::new();
    for (part, number) in parts.iter().zip(1..) {
        // Upper case is what QR codes write densely (BCR-2020-005).
        let code = QrCode::with_error_correction_level(part.to_ascii_uppercase(), EcLevel::L)
            .map_err(|error| Error::Failed(format!("part {number} fits no QR code: {error}")))?;
        let picture =
            code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        text += &format!("{picture}\npart {number} of {}\n\n", parts.len());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(bytes: &[u8]) -> Result<Vec<String>, Error> {
        super::parts(&Message::of_bytes(BYTES, bytes))
    }

    fn joined(text: &str) -> Result<Vec<u8>, String> {
        let message = received(text)?;
        message.bytes().map(<[u8]>::to_vec).ok_or(message.kind)
    }

    /// The message of BCR-2020-005's test vectors ("Wolf"): its bytes come of Xoshiro256**, seeded by that word.
    const WOLF: [u8; 50] = [
        0x91, 0x6e, 0xc6, 0x5c, 0xf7, 0x7c, 0xad, 0xf5, 0x5c, 0xd7, 0xf9, 0xcd, 0xa1, 0xa1, 0x03, 0x00, 0x26,
        0xdd, 0xd4, 0x2e, 0x90, 0x5b, 0x77, 0xad, 0xc3, 0x6e, 0x4f, 0x2d, 0x3c, 0xcb, 0xa4, 0x4f, 0x7f, 0x04,
        0xf2, 0xde, 0x44, 0xf4, 0x2d, 0x84, 0xc3, 0x74, 0xa0, 0xe1, 0x49, 0x13, 0x6f, 0x25, 0xb0, 0x18,
    ];
    const WOLF_UR: &str = "ur:bytes/hdeymejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtgwdpfnsboxgwlbaawzuefywkdplrsrjynbvygabwjldapfcsdwkbrkch";

    /// Its 256 bytes of the same seed in nine fragments: nine parts, and what a fountain gives after them.
    const WOLF_PARTS: [&str; 20] = [
        "1-9/lpadascfadaxcywenbpljkhdcahkadaemejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtdkgslpgh",
        "2-9/lpaoascfadaxcywenbpljkhdcagwdpfnsboxgwlbaawzuefywkdplrsrjynbvygabwjldapfcsgmghhkhstlrdcxaefz",
        "3-9/lpaxascfadaxcywenbpljkhdcahelbknlkuejnbadmssfhfrdpsbiegecpasvssovlgeykssjykklronvsjksopdzmol",
        "4-9/lpaaascfadaxcywenbpljkhdcasotkhemthydawydtaxneurlkosgwcekonertkbrlwmplssjtammdplolsbrdzcrtas",
        "5-9/lpahascfadaxcywenbpljkhdcatbbdfmssrkzmcwnezelennjpfzbgmuktrhtejscktelgfpdlrkfyfwdajldejokbwf",
        "6-9/lpamascfadaxcywenbpljkhdcackjlhkhybssklbwefectpfnbbectrljectpavyrolkzczcpkmwidmwoxkilghdsowp",
        "7-9/lpatascfadaxcywenbpljkhdcavszmwnjkwtclrtvaynhpahrtoxmwvwatmedibkaegdosftvandiodagdhthtrlnnhy",
        "8-9/lpayascfadaxcywenbpljkhdcadmsponkkbbhgsoltjntegepmttmoonftnbuoiyrehfrtsabzsttorodklubbuyaetk",
        "9-9/lpasascfadaxcywenbpljkhdcajskecpmdckihdyhphfotjojtfmlnwmadspaxrkytbztpbauotbgtgtaeaevtgavtny",
        "10-9/lpbkascfadaxcywenbpljkhdcahkadaemejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtwdkiplzs",
        "11-9/lpbdascfadaxcywenbpljkhdcahelbknlkuejnbadmssfhfrdpsbiegecpasvssovlgeykssjykklronvsjkvetiiapk",
        "12-9/lpbnascfadaxcywenbpljkhdcarllaluzmdmgstospeyiefmwejlwtpedamktksrvlcygmzemovovllarodtmtbnptrs",
        "13-9/lpbtascfadaxcywenbpljkhdcamtkgtpknghchchyketwsvwgwfdhpgmgtylctotzopdrpayoschcmhplffziachrfgd",
        "14-9/lpbaascfadaxcywenbpljkhdcapazewnvonnvdnsbyleynwtnsjkjndeoldydkbkdslgjkbbkortbelomueekgvstegt",
        "15-9/lpbsascfadaxcywenbpljkhdcaynmhpddpzmversbdqdfyrehnqzlugmjzmnmtwmrouohtstgsbsahpawkditkckynwt",
        "16-9/lpbeascfadaxcywenbpljkhdcawygekobamwtlihsnpalnsghenskkiynthdzotsimtojetprsttmukirlrsbtamjtpd",
        "17-9/lpbyascfadaxcywenbpljkhdcamklgftaxykpewyrtqzhydntpnytyisincxmhtbceaykolduortotiaiaiafhiaoyce",
        "18-9/lpbgascfadaxcywenbpljkhdcahkadaemejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtntwkbkwy",
        "19-9/lpbwascfadaxcywenbpljkhdcadekicpaajootjzpsdrbalpeywllbdsnbinaerkurspbncxgslgftvtsrjtksplcpeo",
        "20-9/lpbbascfadaxcywenbpljkhdcayapmrleeleaxpasfrtrdkncffwjyjzgyetdmlewtkpktgllepfrltataztksmhkbot",
    ];

    #[test]
    fn published_parts_join_also_when_some_are_lost() {
        let part = |at: usize| format!("ur:bytes/{}", WOLF_PARTS[at]);
        let join = |at: &[usize]| joined(&at.iter().map(|at| part(*at)).collect::<Vec<_>>().join("\n"));
        let whole = join(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!((whole.len(), &whole[..50]), (256, &WOLF[..]));
        let kept: Vec<_> = (0..20).filter(|at| ![1, 6].contains(at)).collect();
        assert_eq!(join(&kept).unwrap(), whole, "two were lost");
        assert!(join(&[0, 1, 2, 3, 4, 5, 6, 7]).is_err());
    }

    #[test]
    fn the_published_vector_is_written_and_read() {
        assert_eq!(parts(&WOLF).unwrap(), [WOLF_UR]);
        for text in [WOLF_UR.to_owned(), WOLF_UR.to_ascii_uppercase(), format!("\n {WOLF_UR} \n")] {
            assert_eq!(joined(&text).unwrap(), WOLF, "{text}");
        }
        let mut changed = WOLF_UR.to_owned();
        changed.replace_range(20..22, "ae");
        assert!(joined(&changed).is_err(), "its checksum does not hold");
        let other = WOLF_UR.replace("bytes", "crypto-psbt");
        assert_eq!(received(&other).unwrap().kind, "crypto-psbt");
    }

    /// Would catch parts that join to something else in another order, or that pass for a whole when one is missing.
    #[test]
    fn parts_come_in_any_order_and_all_are_needed() {
        let bytes: Vec<u8> = (0..5_000_u32).map(|n| ((n * n) >> 3) as u8).collect();
        let mut lines = parts(&bytes).unwrap();
        assert_eq!(lines.len(), 17);
        assert_eq!(joined(&lines.join("\n")).unwrap(), bytes);
        lines.reverse();
        lines.push(lines[3].clone());
        assert_eq!(joined(&lines.join("\r\n").to_ascii_uppercase()).unwrap(), bytes);
        let lost = lines[5].clone();
        lines.retain(|line| *line != lost);
        assert_eq!(joined(&lines.join("\n")).unwrap_err(), "parts are missing");
    }

    #[test]
    fn lengths_have_one_form() {
        for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
            let bytes = vec![7; length];
            assert_eq!(of_byte_string(&byte_string(&bytes)), Some(&bytes[..]), "{length}");
        }
        for bad in [&[0x58, 1, 7][..], &[0x41], &[0x42, 7], &[0x41, 7, 7], &[0x61, 7], &[0x5f], &[]] {
            assert_eq!(of_byte_string(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_part_is_a_picture() {
        let shown = pictures(&parts(&[7; 700]).unwrap()).unwrap();
        assert!(shown.contains("part 3 of 3") && shown.contains('█'));
    }
}
