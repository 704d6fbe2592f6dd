//! From a file's bytes to pixels: JPEG, PNG and WebP, told by their first bytes alone. Size is looked at before anything is
//! decoded, one still frame is read, nothing behind its end is allowed, colour profiles and text are not read.
//! The largest attack surface of the house: it runs in a process that holds nothing. Trusts the decoders to be memory-safe.

use std::io::Cursor;

use png::{ColorType, Transformations};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::orientation::Orientation;
use super::raster::{EDGE_PX, Raster};
use crate::Refusal;

/// LIMIT: a file, in bytes.
pub const BYTES: usize = 8 * 1024 * 1024;
/// LIMIT: scans of a progressive JPEG, each of which costs a pass over all pixels.
const SCANS: usize = 32;
/// LIMIT: what a decoder may hold beside the pixels, in bytes.
const WORK_BYTES: usize = 64 * 1024 * 1024;
const RGB: usize = 3;
const RGBA: usize = 4;

const JPEG_END: &[u8] = &[0xff, 0xd9];
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";
const PNG_END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// The picture in `file`, turned as its EXIF orientation says.
///
/// # Errors
/// [`Refusal`] of the kinds `Image*`.
pub fn decode(file: &[u8]) -> Result<Raster, Refusal> {
    if file.len() > BYTES {
        return Err(Refusal::ImageBytes);
    }
    let (image, orientation) = if file.starts_with(&[0xff, 0xd8, 0xff]) {
        jpeg(file)?
    } else if file.starts_with(PNG_START) {
        png(file)?
    } else if file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP") {
        webp(file)?
    } else {
        return Err(Refusal::ImageFormat);
    };
    orientation.upright(image).ok_or(Refusal::ImageDimensions)
}

fn malformed<E>(_: E) -> Refusal {
    Refusal::ImageMalformed
}

fn jpeg(file: &[u8]) -> Result<(Raster, Orientation), Refusal> {
    if !file.ends_with(JPEG_END) {
        return Err(Refusal::ImageEnd);
    }
    let options = DecoderOptions::default()
        .set_use_unsafe(false)
        .set_strict_mode(true)
        .set_max_width(EDGE_PX)
        .set_max_height(EDGE_PX)
        .jpeg_set_max_scans(SCANS)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(malformed)?;
    let (width, height) = decoder.dimensions().ok_or(Refusal::ImageMalformed)?;
    let mut rgb = room(width, height, RGB)?;
    match decoder.input_colorspace() {
        Some(ColorSpace::YCbCr | ColorSpace::Luma | ColorSpace::RGB) => {}
        _ => return Err(Refusal::ImageFormat),
    }
    decoder.decode_into(&mut rgb).map_err(malformed)?;
    let orientation = decoder.exif().map(|exif| Orientation::read(exif)).unwrap_or_default();
    Ok((Raster::new(width, height, rgb).ok_or(Refusal::ImageMalformed)?, orientation))
}

fn png(file: &[u8]) -> Result<(Raster, Orientation), Refusal> {
    if !file.ends_with(PNG_END) {
        return Err(Refusal::ImageEnd);
    }
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), png::Limits { bytes: WORK_BYTES });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(malformed)?;
    let (width, height) = (header.width as usize, header.height as usize);
    room(width, height, 0)?;
    let mut reader = decoder.read_info().map_err(malformed)?;
    if reader.info().is_animated() {
        return Err(Refusal::ImageAnimated);
    }
    let (colour, _) = reader.output_color_type();
    let mut pixels = room(width, height, colour.samples())?;
    reader.next_frame(&mut pixels).map_err(malformed)?;
    // The checksum of what follows the pixels, and that nothing but the end does.
    reader.finish().map_err(malformed)?;
    let orientation = reader.info().exif_metadata.as_deref().map(Orientation::read).unwrap_or_default();
    let rgb = match colour {
        ColorType::Rgb => pixels,
        ColorType::Grayscale => pixels.iter().flat_map(|grey| [*grey; RGB]).collect(),
        ColorType::GrayscaleAlpha => {
            opaque(pixels.iter().skip(1).step_by(2))?;
            pixels.iter().step_by(2).flat_map(|grey| [*grey; RGB]).collect()
        }
        ColorType::Rgba => without_alpha(&pixels)?,
        ColorType::Indexed => return Err(Refusal::ImageMalformed),
    };
    Ok((Raster::new(width, height, rgb).ok_or(Refusal::ImageMalformed)?, orientation))
}

fn webp(file: &[u8]) -> Result<(Raster, Orientation), Refusal> {
    frames_fit(file)?;
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(file)).map_err(malformed)?;
    decoder.set_memory_limit(WORK_BYTES);
    if decoder.is_animated() {
        return Err(Refusal::ImageAnimated);
    }
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    let mut pixels = room(width, height, if decoder.has_alpha() { RGBA } else { RGB })?;
    decoder.read_image(&mut pixels).map_err(malformed)?;
    let exif = decoder.exif_metadata().map_err(malformed)?;
    let orientation = exif.as_deref().map(Orientation::read).unwrap_or_default();
    let rgb = if decoder.has_alpha() { without_alpha(&pixels)? } else { pixels };
    Ok((Raster::new(width, height, rgb).ok_or(Refusal::ImageMalformed)?, orientation))
}

/// Walks the chunks: the last one ends with the file, and no picture in it is larger than an image may be. The outer header
/// is not asked: a small one may stand before a picture of any size, which the decoder makes room for.
fn frames_fit(file: &[u8]) -> Result<(), Refusal> {
    let length = |at: usize| {
        let bytes = file.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(|bytes| u32::from_le_bytes(bytes) as usize)
    };
    if length(4).is_none_or(|inner| inner + 8 != file.len()) {
        return Err(Refusal::ImageEnd);
    }
    let mut at = 12;
    while let Some(len) = length(at + 4) {
        let content = file.get(at + 8..at + 8 + len).ok_or(Refusal::ImageEnd)?;
        let bits = |from: usize| {
            let bytes = content.get(from..from + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            bytes.map(u32::from_le_bytes).ok_or(Refusal::ImageMalformed)
        };
        match file.get(at..at + 4) {
            // RFC 6386, 9.1: 14 bits each, after the frame's tag and start code.
            Some(b"VP8 ") => {
                let both = bits(6)?;
                room((both & 0x3fff) as usize, (both >> 16 & 0x3fff) as usize, 0)?;
            }
            // RFC 9649, 3.4: 14 bits each, less one, after the signature.
            Some(b"VP8L") => {
                let both = bits(1)?;
                room((both & 0x3fff) as usize + 1, (both >> 14 & 0x3fff) as usize + 1, 0)?;
            }
            Some(b"ANMF") => return Err(Refusal::ImageAnimated),
            _ => {}
        }
        at += 8 + len + len % 2;
    }
    if at == file.len() { Ok(()) } else { Err(Refusal::ImageEnd) }
}

/// A buffer for an image of a size that is allowed.
fn room(width: usize, height: usize, bytes: usize) -> Result<Vec<u8>, Refusal> {
    if !Raster::fits(width, height) {
        return Err(Refusal::ImageDimensions);
    }
    Ok(vec![0; width * height * bytes])
}

fn opaque<'a>(mut alpha: impl Iterator<Item = &'a u8>) -> Result<(), Refusal> {
    if alpha.all(|alpha| *alpha == u8::MAX) { Ok(()) } else { Err(Refusal::ImageTransparent) }
}

fn without_alpha(pixels: &[u8]) -> Result<Vec<u8>, Refusal> {
    opaque(pixels.iter().skip(RGB).step_by(RGBA))?;
    Ok(pixels.chunks_exact(RGBA).flat_map(|pixel| pixel.iter().take(RGB)).copied().collect())
}
