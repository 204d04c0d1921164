//! Decimal text as Postgres' binary numeric: groups of four digits around the point.

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;
/// What an unconstrained numeric holds before and behind the point.
const MOST_WHOLE_DIGITS: i64 = 131_072;
const MOST_FRACTION_DIGITS: i64 = 16_383;
const GROUP: i64 = 4;

/// Writes `-?digits[.digits][E[+-]digits]`, `NaN`, `Infinity` or `-Infinity`; false, writing nothing, for all else.
pub fn from_text(out: &mut Vec<u8>, text: &str) -> bool {
    match text {
        "NaN" => return special(out, NAN),
        "Infinity" => return special(out, INFINITY),
        "-Infinity" => return special(out, NEGATIVE_INFINITY),
        _ => {}
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => match exponent.parse::<i64>() {
            Ok(exponent) if exponent.abs() <= 2 * MOST_WHOLE_DIGITS => (mantissa, exponent),
            _ => return false,
        },
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return false,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let mut digits = Vec::with_capacity(whole.len() + fraction.len());
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return false;
        }
        digits.push(byte - b'0');
    }
    !whole.is_empty() && finite(out, sign, &digits, exponent - fraction.len() as i64)
}

/// Writes a double that is a whole number, NaN or infinite; false for fractions.
pub fn from_double(out: &mut Vec<u8>, value: f64) -> bool {
    if value.is_nan() {
        return special(out, NAN);
    }
    if value.is_infinite() {
        return special(
            out,
            if value > 0.0 {
                INFINITY
            } else {
                NEGATIVE_INFINITY
            },
        );
    }
    // Rust writes all digits of a whole double, not only the shortest.
    value.fract() == 0.0 && from_text(out, &format!("{value:.0}"))
}

fn special(out: &mut Vec<u8>, sign: u16) -> bool {
    write(out, &[], 0, sign, 0)
}

/// Writes digits times ten to the power of `exponent`.
fn finite(out: &mut Vec<u8>, sign: u16, digits: &[u8], exponent: i64) -> bool {
    let scale = (-exponent).max(0);
    let leading = digits.iter().take_while(|&&digit| digit == 0).count();
    let significant = digits.get(leading..).unwrap_or(&[]);
    if scale > MOST_FRACTION_DIGITS {
        return false;
    }
    if significant.is_empty() {
        return write(out, &[], 0, POSITIVE, scale as u16);
    }
    // Digits before the point; negative where zeros follow the point.
    let whole = significant.len() as i64 + exponent;
    if whole > MOST_WHOLE_DIGITS {
        return false;
    }
    let weight = (whole - 1).div_euclid(GROUP);
    // Zeros in front that fill the first group.
    let padding = (weight + 1) * GROUP - whole;
    let mut groups = Vec::with_capacity(significant.len() / 4 + 2);
    let mut group = 0u16;
    let mut filled = padding;
    for &digit in significant {
        group = group * 10 + u16::from(digit);
        filled += 1;
        if filled == GROUP {
            groups.push(group);
            (group, filled) = (0, 0);
        }
    }
    if filled > 0 {
        groups.push(group * 10u16.pow((GROUP - filled) as u32));
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    write(out, &groups, weight as i16, sign, scale as u16)
}

fn write(out: &mut Vec<u8>, groups: &[u16], weight: i16, sign: u16, scale: u16) -> bool {
    out.extend_from_slice(&(8 + 2 * groups.len() as i32).to_be_bytes());
    out.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
    true
}
