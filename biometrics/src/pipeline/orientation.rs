//! Which way is up: the one tag of EXIF that is read (TIFF 6.0, tag 274 in the first directory). Whatever cannot be read
//! means that the image is as it lies.

use super::raster::Raster;

const TAG: u16 = 274;
/// LIMIT: entries of the directory that are looked at.
const ENTRIES: u16 = 512;

/// EXIF's numbers 1 to 8, as what is done to the image: transposed first, then mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    transposed: bool,
    mirrored: bool,
    upside_down: bool,
}

impl Orientation {
    /// Reads a TIFF file that may follow the letters `Exif` and two zeros.
    pub(crate) fn read(exif: &[u8]) -> Self {
        tag(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif)).map(Self::numbered).unwrap_or_default()
    }

    fn numbered(number: u16) -> Self {
        let (transposed, mirrored, upside_down) = match number {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self { transposed, mirrored, upside_down }
    }

    /// The image as it was seen; `None` where turning passes a limit, which it cannot.
    pub(crate) fn upright(self, image: Raster) -> Option<Raster> {
        if self == Self::default() {
            return Some(image);
        }
        let (width, height) =
            if self.transposed { (image.height(), image.width()) } else { (image.width(), image.height()) };
        image.rearranged(width, height, |x, y| {
            let x = if self.mirrored { width - 1 - x } else { x };
            let y = if self.upside_down { height - 1 - y } else { y };
            if self.transposed { (y, x) } else { (x, y) }
        })
    }
}

fn tag(tiff: &[u8]) -> Option<u16> {
    let big = match tiff.get(..4)? {
        b"MM\0\x2a" => true,
        b"II\x2a\0" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let long = |at: usize| {
        let (first, second) = (u32::from(short(at)?), u32::from(short(at.checked_add(2)?)?));
        Some(if big { first << 16 | second } else { second << 16 | first })
    };
    let directory = long(4)? as usize;
    (0..short(directory)?.min(ENTRIES)).find_map(|entry| {
        let at = directory.checked_add(2 + 12 * usize::from(entry))?;
        (short(at)? == TAG && short(at + 2)? == 3).then(|| short(at + 8)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(number: u16) -> Vec<u8> {
        let mut bytes = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.extend([0; 6]);
        bytes
    }

    /// Each number's corner: what must lie at the upper left afterwards, of an image whose corners are told apart.
    #[test]
    fn every_number_turns_the_image_as_exif_says() {
        let corners = |number| {
            let mut rgb = vec![0; 70 * 64 * 3];
            rgb[0] = 1;
            rgb[69 * 3] = 2;
            rgb[63 * 70 * 3] = 3;
            rgb[(64 * 70 - 1) * 3] = 4;
            let image = Raster::new(70, 64, rgb).unwrap();
            let image = Orientation::read(&exif(number)).upright(image).unwrap();
            let (width, height) = (image.width(), image.height());
            let at = |x: usize, y: usize| image.rgb()[(y * width + x) * 3];
            [at(0, 0), at(width - 1, 0), at(0, height - 1), at(width - 1, height - 1)]
        };
        assert_eq!(corners(1), [1, 2, 3, 4]);
        assert_eq!(corners(2), [2, 1, 4, 3], "mirrored");
        assert_eq!(corners(3), [4, 3, 2, 1], "half a turn");
        assert_eq!(corners(4), [3, 4, 1, 2], "upside down");
        assert_eq!(corners(5), [1, 3, 2, 4], "transposed");
        assert_eq!(corners(6), [3, 1, 4, 2], "a quarter turn clockwise puts it right");
        assert_eq!(corners(7), [4, 2, 3, 1], "transposed over the other corners");
        assert_eq!(corners(8), [2, 4, 1, 3], "a quarter turn the other way");
        assert_eq!(corners(9), [1, 2, 3, 4], "no such number");
    }

    #[test]
    fn damaged_exif_means_nothing() {
        let whole = exif(6);
        for length in 0..24 {
            assert_eq!(Orientation::read(&whole[..length]), Orientation::default(), "{length}");
        }
        let mut far = whole.clone();
        far[10..14].fill(0xff);
        assert_eq!(Orientation::read(&far), Orientation::default());
    }
}
