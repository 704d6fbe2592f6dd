//! Arithmetic of GF(256) as SLIP-39 has it (that of AES), without tables that a secret would choose the places of.

use zeroize::Zeroizing;

/// A value of as many polynomials as the secret has bytes.
pub(super) struct Point {
    pub x: u8,
    pub y: Zeroizing<Vec<u8>>,
}

/// The product modulo `x^8 + x^4 + x^3 + x + 1`.
fn times(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & 0_u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & 0_u8.wrapping_sub(a >> 7));
    }
    product
}

/// `a^254`: the inverse, and zero of zero.
fn inverse(a: u8) -> u8 {
    let square = times(a, a);
    (0..6)
        .fold((square, square), |(power, product), _| {
            let power = times(power, power);
            (power, times(product, power))
        })
        .1
}

/// What the polynomials through these points are at `x`. The points differ in `x` and agree in length.
pub(super) fn interpolate(points: &[Point], x: u8) -> Zeroizing<Vec<u8>> {
    let len = points.first().map_or(0, |point| point.y.len());
    let mut sum = Zeroizing::new(vec![0; len]);
    for point in points {
        let others = points.iter().filter(|other| other.x != point.x);
        let basis =
            others.fold(1, |basis, other| times(basis, times(x ^ other.x, inverse(point.x ^ other.x))));
        sum.iter_mut().zip(point.y.iter()).for_each(|(sum, y)| *sum ^= times(*y, basis));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_field() {
        // FIPS 197, 4.2: {57} x {83} = {c1}, {57} x {13} = {fe}.
        assert_eq!((times(0x57, 0x83), times(0x57, 0x13)), (0xc1, 0xfe));
        assert!((1..=255).all(|a| times(a, inverse(a)) == 1) && inverse(0) == 0);
    }
}
