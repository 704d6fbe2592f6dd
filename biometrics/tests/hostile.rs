//! What strangers send: every file here is refused with its code, or is read as what it says it is; none takes more than the
//! limits allow. Needs no models. Would catch a decoder that trusts a header, or a file that hides something behind its end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

use std::borrow::Cow;

use chancery_biometrics::Refusal;
use chancery_biometrics::pipeline::{BYTES, Raster, decode};
use image_webp::{ColorType as WebpColour, WebPEncoder};
use png::{BitDepth, ColorType};

/// 64 x 64 in four colours: red, green over blue, white. Made with Pillow 13: baseline, progressive, grey, CMYK.
const JPEG: &str = include_str!("images/baseline.jpg.hex");
const PROGRESSIVE: &str = include_str!("images/progressive.jpg.hex");
const GREY: &str = include_str!("images/grey.jpg.hex");
const CMYK: &str = include_str!("images/cmyk.jpg.hex");
const LOSSY_WEBP: &str = include_str!("images/lossy.webp.hex");
const ANIMATED_WEBP: &str = include_str!("images/animated.webp.hex");
const ANIMATED_PNG: &str = include_str!("images/animated.png.hex");

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

fn refusal(file: &[u8]) -> Option<Refusal> {
    decode(file).err()
}

/// The four colours, as `rgb` or with an alpha.
fn quarters(alpha: Option<u8>) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..64 {
        for x in 0..64 {
            let colour: [u8; 3] = match (x < 32, y < 32) {
                (true, true) => [254, 0, 0],
                (false, true) => [0, 255, 0],
                (true, false) => [0, 0, 254],
                (false, false) => [255; 3],
            };
            pixels.extend(colour);
            pixels.extend(alpha);
        }
    }
    pixels
}

fn png_of(colour: ColorType, width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    file
}

fn webp_of(colour: WebpColour, pixels: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    WebPEncoder::new(&mut file).encode(pixels, 64, 64, colour).unwrap();
    file
}

/// Every format, whole.
fn whole() -> [(&'static str, Vec<u8>); 6] {
    [
        ("png", png_of(ColorType::Rgb, 64, 64, &quarters(None))),
        ("webp, lossless", webp_of(WebpColour::Rgb8, &quarters(None))),
        ("webp, lossy", bytes(LOSSY_WEBP)),
        ("jpeg", bytes(JPEG)),
        ("jpeg, progressive", bytes(PROGRESSIVE)),
        ("jpeg, grey", bytes(GREY)),
    ]
}

#[test]
fn every_format_shows_the_same_picture() {
    let near = |image: &Raster, x: usize, y: usize, colour: [u8; 3]| {
        let at = (y * 64 + x) * 3;
        image.rgb()[at..at + 3].iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 6)
    };
    for (name, file) in whole() {
        let image = decode(&file).unwrap_or_else(|refusal| panic!("{name}: {}", refusal.code()));
        assert_eq!((image.width(), image.height()), (64, 64), "{name}");
        let colours = if name == "jpeg, grey" {
            [[76; 3], [150; 3], [29; 3], [255; 3]]
        } else {
            [[254, 0, 0], [0, 255, 0], [0, 0, 254], [255; 3]]
        };
        for ((x, y), colour) in [(8, 8), (56, 8), (8, 56), (56, 56)].into_iter().zip(colours) {
            assert!(near(&image, x, y, colour), "{name} at {x}, {y}");
        }
    }
}

/// Each file cut at every byte, and with every byte changed: refused or read, never a panic; a cut one never read.
#[test]
fn damaged_files_are_refused_or_read() {
    for (name, file) in whole() {
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "{name} of {length} bytes");
        }
        let (mut read, mut file) = (0, file);
        for at in 0..file.len() {
            let was = file[at];
            for change in [0xff, 0x01, 0x80] {
                file[at] = was ^ change;
                read += usize::from(decode(&file).is_ok());
            }
            file[at] = was;
        }
        println!("{name}: {read} of {} changed files are still read", file.len() * 3);
    }
}

#[test]
fn nothing_hides_behind_an_end() {
    for (name, file) in whole() {
        for hidden in [&b"PK\x03\x04 a ZIP archive"[..], b"<script>", b"\0"] {
            let both = [&file, hidden].concat();
            assert_eq!(refusal(&both), Some(Refusal::ImageEnd), "{name} with {hidden:?}");
        }
    }
    // A PNG that ends as a JPEG does, and the other way round: each is what its first bytes say.
    let (png, jpeg) = (&whole()[0].1, bytes(JPEG));
    assert_eq!(refusal(&[png.as_slice(), &jpeg].concat()), Some(Refusal::ImageEnd));
    assert_eq!(refusal(&[jpeg.as_slice(), png].concat()), Some(Refusal::ImageEnd));
    // A picture behind a picture, both JPEG: the first is read.
    let twice = [jpeg.as_slice(), &bytes(GREY)].concat();
    assert!(decode(&twice).is_ok_and(|image| image.rgb()[0] > 200 && image.rgb()[1] < 50));
}

#[test]
fn other_formats_are_none() {
    for file in [
        &b""[..],
        b"\xff\xd8",
        b"GIF89a\x40\0\x40\0",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM\0\0\0\0",
        b"II*\0",
        b"RIFF\x04\0\0\0WAVE",
        b"\0\0\0\x18ftypheic",
    ] {
        assert_eq!(refusal(file), Some(Refusal::ImageFormat), "{file:?}");
    }
    assert_eq!(refusal(&bytes(CMYK)), Some(Refusal::ImageFormat));
}

/// CRC-32 of PNG, so that a header can be made that lies only in what it says.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        }
    }
    (!crc).to_be_bytes()
}

fn with_png_size(width: u32, height: u32) -> Vec<u8> {
    let mut file = png_of(ColorType::Rgb, 64, 64, &quarters(None));
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&file[12..29]);
    file[29..33].copy_from_slice(&sum);
    file
}

#[test]
fn sizes_are_refused_before_anything_is_decoded() {
    for (width, height) in [(0, 64), (63, 64), (64, 63), (8_193, 64), (8_192, 1_537), (u32::MAX >> 1, 64)] {
        let found = refusal(&with_png_size(width, height));
        let small = [Some(Refusal::ImageDimensions), Some(Refusal::ImageMalformed)];
        assert!(small.contains(&found), "{width} x {height}: {found:?}");
    }
    assert_eq!(refusal(&with_png_size(60_000, 60_000)), Some(Refusal::ImageDimensions), "gigapixels");
    assert_eq!(refusal(&with_png_size(64, 65)), Some(Refusal::ImageMalformed), "a row that is not there");
    let mut jpeg = bytes(JPEG);
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert!(refusal(&jpeg).is_some(), "65,535 each way");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x20, 0, 0x06, 0x01]);
    assert_eq!(refusal(&jpeg), Some(Refusal::ImageDimensions), "8,192 x 1,537");
    assert_eq!(refusal(&vec![0xff; BYTES + 1]), Some(Refusal::ImageBytes));
}

/// The outer header of a WebP says 64 x 64, the picture inside 16,383 each way: 400 MB, were it believed.
#[test]
fn a_webp_inside_a_webp_is_measured() {
    let mut lossy = bytes(LOSSY_WEBP);
    let start = lossy.windows(3).position(|code| code == [0x9d, 0x01, 0x2a]).unwrap() + 3;
    lossy[start..start + 4].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    assert_eq!(refusal(&lossy), Some(Refusal::ImageDimensions));
    let inner = &lossy[12..];
    let mut outer = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x3f\0\0\x3f\0\0".to_vec();
    outer.extend(inner);
    let length = u32::try_from(outer.len() - 8).unwrap();
    outer[4..8].copy_from_slice(&length.to_le_bytes());
    assert_eq!(refusal(&outer), Some(Refusal::ImageDimensions));
}

/// 12 million pixels that take 37 KB: the largest bomb that is let in costs one decode, and one pixel more is refused.
#[test]
fn a_bomb_has_the_size_of_an_image() {
    let largest = png_of(ColorType::Grayscale, 8_192, 1_536, &vec![128; 8_192 * 1_536]);
    assert!(largest.len() < 64 * 1024, "{}", largest.len());
    let image = decode(&largest).unwrap();
    assert_eq!((image.width(), image.height()), (8_192, 1_536));
    // A megabyte of zeros in a text chunk and in a colour profile: neither is opened.
    let mut file = Vec::new();
    let mut info = png::Info::with_size(64, 64);
    info.color_type = ColorType::Rgb;
    info.bit_depth = BitDepth::Eight;
    info.icc_profile = Some(Cow::Owned(vec![0; 1 << 20]));
    let mut encoder = png::Encoder::with_info(&mut file, info).unwrap();
    encoder.add_ztxt_chunk("Comment".into(), " ".repeat(1 << 20)).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&quarters(None)).unwrap();
    writer.finish().unwrap();
    assert!(decode(&file).is_ok());
}

#[test]
fn one_still_opaque_frame_is_read() {
    assert_eq!(refusal(&bytes(ANIMATED_PNG)), Some(Refusal::ImageAnimated));
    assert_eq!(refusal(&bytes(ANIMATED_WEBP)), Some(Refusal::ImageAnimated));
    let seen_through = quarters(Some(254));
    assert_eq!(refusal(&png_of(ColorType::Rgba, 64, 64, &seen_through)), Some(Refusal::ImageTransparent));
    assert_eq!(refusal(&webp_of(WebpColour::Rgba8, &seen_through)), Some(Refusal::ImageTransparent));
    let opaque = quarters(Some(255));
    assert!(decode(&png_of(ColorType::Rgba, 64, 64, &opaque)).is_ok());
    assert!(decode(&webp_of(WebpColour::Rgba8, &opaque)).is_ok());
}
