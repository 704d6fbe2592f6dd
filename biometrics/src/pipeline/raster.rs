//! An image as the nets see it: rows of red, green and blue, wiped when dropped, sampled through a map from the pixels of a
//! net's input. The convention is OpenCV's, with which the models were measured: a pixel's value is at its centre,
//! numbers between are bilinear.

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

/// LIMIT: an edge of an image, in pixels.
pub const EDGE_PX: usize = 8_192;
/// LIMIT: the pixels of an image: 4096 x 3072.
pub const PIXELS: usize = 12_582_912;
/// The least edge that can hold a face, in pixels.
pub const LEAST_EDGE_PX: usize = 64;

/// Pixels of 8 bits, three to a pixel, row by row.
pub struct Raster {
    width: usize,
    height: usize,
    rgb: Zeroizing<Vec<u8>>,
}

/// From output pixel `(u, v)` to image position `(x, y)`, both counted from the centre of the first pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Map {
    pub(crate) x: [f32; 3],
    pub(crate) y: [f32; 3],
    /// Whether pixels that would be skipped are counted too, where an image is more than halved.
    pub(crate) smooth: bool,
}

/// What is outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outside {
    Black,
    /// The nearest pixel of the image.
    Edge,
}

/// A part of an image, in pixels. It may reach outside of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Of its left edge.
    pub x: f32,
    /// Of its upper edge.
    pub y: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
}

impl Area {
    /// Its middle.
    #[must_use]
    pub fn centre(&self) -> (f32, f32) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// The square as high as this, with the same middle, its corner and side whole numbers.
    pub(crate) fn square(&self) -> Self {
        let (x, y) = self.centre();
        let side = self.height.trunc().max(1.0);
        Self {
            x: (x - self.height / 2.0).trunc(),
            y: (y - self.height / 2.0).trunc(),
            width: side,
            height: side,
        }
    }
}

impl Map {
    /// Stretches `area` over an output of `width` x `height`.
    pub(crate) fn stretch(area: Area, width: usize, height: usize) -> Self {
        let (sx, sy) = (area.width / width as f32, area.height / height as f32);
        Self { x: [sx, 0.0, area.x + 0.5 * sx - 0.5], y: [0.0, sy, area.y + 0.5 * sy - 0.5], smooth: true }
    }

    /// Bilinear numbers alone, however small the output is.
    pub(crate) fn rough(self) -> Self {
        Self { smooth: false, ..self }
    }

    fn at(&self, u: f32, v: f32) -> (f32, f32) {
        let ([xu, xv, x], [yu, yv, y]) = (self.x, self.y);
        (xu * u + xv * v + x, yu * u + yv * v + y)
    }

    /// Samples for each output pixel, each way.
    fn samples(&self) -> usize {
        if !self.smooth {
            return 1;
        }
        let step = |a: f32, b: f32| (a * a + b * b).sqrt();
        let steps = step(self.x[0], self.y[0]).max(step(self.x[1], self.y[1]));
        (steps.floor() as usize).clamp(1, 16)
    }
}

impl Raster {
    /// Takes pixels, `None` where there are not `width` x `height` of them or a limit is passed.
    #[must_use]
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Option<Self> {
        let rgb = Zeroizing::new(rgb);
        (Self::fits(width, height) && rgb.len() == width * height * 3).then_some(Self { width, height, rgb })
    }

    /// Whether an image may have this size.
    #[must_use]
    pub fn fits(width: usize, height: usize) -> bool {
        let edge = LEAST_EDGE_PX..=EDGE_PX;
        edge.contains(&width) && edge.contains(&height) && width * height <= PIXELS
    }

    /// In pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// In pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green and blue of every pixel, row by row.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// SHA-256 of size and pixels: the same picture in another file has the same.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut all = Context::new(&SHA256);
        all.update(&(self.width as u64).to_be_bytes());
        all.update(&self.rgb);
        let mut digest = [0; 32];
        digest.copy_from_slice(all.finish().as_ref());
        digest
    }

    pub(crate) fn whole(&self) -> Area {
        Area { x: 0.0, y: 0.0, width: self.width as f32, height: self.height as f32 }
    }

    /// The image whose pixel `(x, y)` is this one's `from(x, y)`.
    pub(crate) fn rearranged(
        &self,
        width: usize,
        height: usize,
        from: impl Fn(usize, usize) -> (usize, usize),
    ) -> Option<Self> {
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                let (x, y) = from(x, y);
                rgb.extend_from_slice(self.pixel(x, y));
            }
        }
        Self::new(width, height, rgb)
    }

    /// Halved, thirded and so on, by the mean of whole blocks, until no edge is above `edge`.
    #[must_use]
    pub fn shrunk(self, edge: usize) -> Self {
        let by = self.width.max(self.height).div_ceil(edge.max(1));
        let (width, height) = (self.width / by.max(1), self.height / by.max(1));
        if by <= 1 || width < LEAST_EDGE_PX || height < LEAST_EDGE_PX {
            return self;
        }
        let mut rgb = Vec::with_capacity(width * height * 3);
        let mut sums = vec![[0_u32; 3]; width];
        for y in 0..height {
            sums.fill([0; 3]);
            for row in y * by..(y + 1) * by {
                let row = self.rgb.chunks_exact(self.width * 3).nth(row).unwrap_or_default();
                for (sum, block) in sums.iter_mut().zip(row.chunks_exact(by * 3)) {
                    for pixel in block.chunks_exact(3) {
                        for (sum, value) in sum.iter_mut().zip(pixel) {
                            *sum += u32::from(*value);
                        }
                    }
                }
            }
            let blocks = (by * by) as u32;
            rgb.extend(sums.iter().flatten().map(|sum| ((sum + blocks / 2) / blocks) as u8));
        }
        Self { width, height, rgb: Zeroizing::new(rgb) }
    }

    fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let at = (y * self.width + x) * 3;
        self.rgb.get(at..at + 3).unwrap_or(&[0; 3])
    }

    /// An output of `width` x `height` pixels through `map`.
    pub(crate) fn sampled(&self, map: &Map, width: usize, height: usize, outside: Outside) -> Vec<[f32; 3]> {
        let samples = map.samples();
        let part = 1.0 / samples as f32;
        let mut pixels = Vec::with_capacity(width * height);
        for v in 0..height {
            for u in 0..width {
                let mut sum = [0.0; 3];
                for j in 0..samples {
                    for i in 0..samples {
                        let inner = |at: usize, k: usize| at as f32 + (k as f32 + 0.5) * part - 0.5;
                        let (x, y) = map.at(inner(u, i), inner(v, j));
                        for (sum, value) in sum.iter_mut().zip(self.between(x, y, outside)) {
                            *sum += value;
                        }
                    }
                }
                pixels.push(sum.map(|sum| sum * part * part));
            }
        }
        pixels
    }

    fn between(&self, x: f32, y: f32, outside: Outside) -> [f32; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (right, down) = (x - left, y - top);
        let mut sum = [0.0; 3];
        for (dx, dy, weight) in [
            (0.0, 0.0, (1.0 - right) * (1.0 - down)),
            (1.0, 0.0, right * (1.0 - down)),
            (0.0, 1.0, (1.0 - right) * down),
            (1.0, 1.0, right * down),
        ] {
            let (x, y) = (left + dx, top + dy);
            let (within_x, within_y) =
                (x.clamp(0.0, self.width as f32 - 1.0), y.clamp(0.0, self.height as f32 - 1.0));
            if outside == Outside::Black && (within_x != x || within_y != y) {
                continue;
            }
            for (sum, value) in sum.iter_mut().zip(self.pixel(within_x as usize, within_y as usize)) {
                *sum += weight * f32::from(*value);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Raster {
        let rgb = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, (x + y) as u8]))
            .collect();
        Raster::new(width, height, rgb).unwrap()
    }

    /// Would catch positions that are off by half a pixel: on a ramp every number says where it was read.
    #[test]
    fn a_stretched_ramp_keeps_its_positions() {
        let image = ramp(128, 64);
        let half = image.sampled(&Map::stretch(image.whole(), 64, 32), 64, 32, Outside::Edge);
        for (at, [x, y, both]) in half.iter().enumerate() {
            let (u, v) = ((at % 64) as f32, (at / 64) as f32);
            assert!((x - (2.0 * u + 0.5)).abs() < 1e-3, "{u}: {x}");
            assert!((y - (2.0 * v + 0.5)).abs() < 1e-3);
            assert!((both - x - y).abs() < 1e-3);
        }
        let same = image.sampled(&Map::stretch(image.whole(), 128, 64), 128, 64, Outside::Edge);
        assert_eq!(same[128 * 3 + 5], [5.0, 3.0, 8.0]);
    }

    #[test]
    fn what_is_outside_is_black_or_the_edge() {
        let image = ramp(64, 64);
        let beyond = Area { x: -64.0, y: 0.0, width: 64.0, height: 64.0 };
        let seen = |outside| image.sampled(&Map::stretch(beyond, 64, 64), 64, 64, outside)[64 * 9 + 3];
        assert_eq!(seen(Outside::Black), [0.0; 3]);
        assert_eq!(seen(Outside::Edge), [0.0, 9.0, 9.0]);
    }

    #[test]
    fn shrinking_takes_the_mean_of_whole_blocks() {
        assert_eq!(ramp(201, 150).shrunk(100).width(), 201, "no edge falls below what can hold a face");
        let image = ramp(200, 200).shrunk(100);
        assert_eq!((image.width(), image.height()), (100, 100));
        assert_eq!(image.pixel(3, 0), [7, 1, 7], "6.5, 0.5, 7.0, halves upwards");
    }

    #[test]
    fn sizes_have_limits() {
        assert!(Raster::new(64, 64, vec![0; 64 * 64 * 3]).is_some());
        assert!(Raster::new(64, 64, vec![0; 64 * 64 * 3 - 1]).is_none());
        assert!(!Raster::fits(63, 64) && !Raster::fits(8_193, 64) && !Raster::fits(8_192, 1_537));
    }
}
