//! The walk in vector registers: AVX2 and SSE2, one text for both.

use super::Tally;
use std::arch::x86_64::*;

/// What is looked at bit by bit, where there is a stop or the end.
const BLOCK: usize = 64;
/// What is looked at at once where there is none.
const STRIDE: usize = 128;

/// The few operations that the walk needs of a vector register.
///
/// All are unsafe for one reason: the machine must have the instructions. `load` also wants `WIDTH`
/// readable octets. All are inlined into the two functions that declare the features.
trait Vector: Copy {
    const WIDTH: usize;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn splat(octet: u8) -> Self;
    unsafe fn equal(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// The smaller of each two octets, signed.
    unsafe fn min(self, other: Self) -> Self;
    /// The top bit of each octet.
    unsafe fn mask(self) -> u64;
}

macro_rules! vector {
    ($type:ty, $width:literal, $load:ident, $splat:ident, $equal:ident, $and:ident, $or:ident, $xor:ident,
     $min:ident, $mask:ident) => {
        // SAFETY (all of it): the features are the caller's duty, see `Vector`.
        impl Vector for $type {
            const WIDTH: usize = $width;
            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                // SAFETY: `WIDTH` octets are readable; the load asks for no alignment.
                unsafe { $load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(octet: u8) -> Self {
                // SAFETY: features only.
                unsafe { $splat(octet as i8) }
            }
            #[inline(always)]
            unsafe fn equal(self, other: Self) -> Self {
                // SAFETY: features only.
                unsafe { $equal(self, other) }
            }
            #[inline(always)]
            unsafe fn and(self, other: Self) -> Self {
                // SAFETY: features only.
                unsafe { $and(self, other) }
            }
            #[inline(always)]
            unsafe fn or(self, other: Self) -> Self {
                // SAFETY: features only.
                unsafe { $or(self, other) }
            }
            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: features only.
                unsafe { $xor(self, other) }
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                // SAFETY: features only.
                unsafe { $min(self, other) }
            }
            #[inline(always)]
            unsafe fn mask(self) -> u64 {
                // SAFETY: features only.
                u64::from(unsafe { $mask(self) } as u32)
            }
        }
    };
}

vector!(
    __m128i,
    16,
    _mm_loadu_si128,
    _mm_set1_epi8,
    _mm_cmpeq_epi8,
    _mm_and_si128,
    _mm_or_si128,
    _mm_xor_si128,
    least,
    _mm_movemask_epi8
);
vector!(
    __m256i,
    32,
    _mm256_loadu_si256,
    _mm256_set1_epi8,
    _mm256_cmpeq_epi8,
    _mm256_and_si256,
    _mm256_or_si256,
    _mm256_xor_si256,
    _mm256_min_epi8,
    _mm256_movemask_epi8
);

/// The signed minimum, which SSE2 lacks.
///
/// # Safety
/// None needed: SSE2 is part of x86-64. Unsafe as its AVX2 twin is.
#[inline(always)]
unsafe fn least(one: __m128i, other: __m128i) -> __m128i {
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        let greater = _mm_cmpgt_epi8(one, other);
        _mm_or_si128(
            _mm_and_si128(greater, other),
            _mm_andnot_si128(greater, one),
        )
    }
}

/// See [`super::walk`].
///
/// # Safety
/// `1 <= from <= bytes.len()`, and the machine has SSE2.
pub unsafe fn sse2<const DOTS: bool, const STOP: bool>(
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    // SAFETY: passed on.
    unsafe { walk::<__m128i, DOTS, STOP>(bytes, from, tally) }
}

/// See [`super::walk`].
///
/// # Safety
/// `1 <= from <= bytes.len()`, and the machine has the features named here.
#[target_feature(enable = "avx2,bmi1,lzcnt,popcnt")]
pub unsafe fn avx2<const DOTS: bool, const STOP: bool>(
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    // SAFETY: passed on.
    unsafe { walk::<__m256i, DOTS, STOP>(bytes, from, tally) }
}

/// # Safety
/// `1 <= from <= bytes.len()`, and the machine can do `V`.
#[inline(always)]
unsafe fn walk<V: Vector, const DOTS: bool, const STOP: bool>(
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    let mut at = from;
    loop {
        // SAFETY: passed on; `at` only grows.
        at = unsafe { strides::<V, DOTS>(bytes, at, tally) };
        if at == bytes.len() {
            return at;
        }
        let count = (bytes.len() - at).min(BLOCK);
        let mut padded = [b' '; BLOCK + 1];
        let block = if count == BLOCK {
            &bytes[at - 1..at + BLOCK]
        } else {
            padded[..=count].copy_from_slice(&bytes[at - 1..at + count]);
            &padded
        };
        // SAFETY: the slice holds a block and the octet before it. Features are the caller's duty.
        let block = unsafe { Block::of::<V>(block.as_ptr().add(1)) };
        let stops = (if DOTS { block.dots } else { 0 }) | (if STOP { block.bare } else { 0 });
        let whole = stops & below(count) == 0;
        let count = count.min(stops.trailing_zeros() as usize);
        let valid = below(count);
        tally.facts.bare_newline |= block.bare & valid != 0;
        tally.facts.eight_bit |= block.high & valid != 0;
        tally.facts.nuls += u64::from((block.nuls & valid).count_ones());
        tally.block(block.ends & valid, count);
        at += count;
        if !whole {
            return at;
        }
    }
}

/// Whole strides from `from` on, up to one that is not whole, has a bare newline, or (with `DOTS`) a dot after
/// an LF; returns its place. That a bare newline always leaves the loop, wanted or not, keeps all that is
/// compared in one register: collected beside the dots it cost a third of the speed.
///
/// # Safety
/// `1 <= from <= bytes.len()`, and the machine can do `V`.
#[inline(always)]
unsafe fn strides<V: Vector, const DOTS: bool>(
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    let mut at = from;
    let mut lines = Lines {
        settled: from,
        within: false,
    };
    // SAFETY: a stride is looked at only if it lies in `bytes`, and the octet before its first is in
    // `bytes` too, as `from` is at least 1. Features are the caller's duty.
    unsafe {
        let (cr, lf, dot) = (V::splat(b'\r'), V::splat(b'\n'), V::splat(b'.'));
        let mut least = V::splat(1);
        while bytes.len() - at >= STRIDE {
            let (mut stop, mut ends, mut smallest) = (V::splat(0), V::splat(0), least);
            let mut offset = 0;
            while offset < STRIDE {
                let here = V::load(bytes.as_ptr().add(at + offset));
                let before = V::load(bytes.as_ptr().add(at + offset - 1));
                let end = here.equal(lf);
                stop = stop.or(before.equal(cr).xor(end));
                if DOTS {
                    stop = stop.or(before.equal(lf).and(here.equal(dot)));
                }
                ends = ends.or(end);
                smallest = smallest.min(here);
                offset += V::WIDTH;
            }
            if stop.mask() != 0 {
                break;
            }
            least = smallest;
            if (ends.mask() == 0) != lines.within {
                lines.turn(bytes, at, tally);
            }
            at += STRIDE;
        }
        lines.finish(bytes, at, tally);
        let high = least.mask() != 0;
        tally.facts.eight_bit |= high;
        // Where an octet has its top bit set, the minimum can't tell whether another is NUL.
        if high || least.equal(V::splat(0)).mask() != 0 {
            tally.facts.nuls += memchr::memchr_iter(0, &bytes[from..at]).count() as u64;
        }
    }
    at
}

/// The lengths of lines where there is a line end in each stride (no line is long), or in none (all is one).
struct Lines {
    /// The tally knows of the octets before this place.
    settled: usize,
    /// Inside a line that fills strides.
    within: bool,
}

impl Lines {
    /// The stride at `at` is the first without a line end, or the first that has one again.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, bytes: &[u8], at: usize, tally: &mut Tally) {
        self.finish(bytes, at, tally);
        self.within = !self.within;
    }

    /// Tells the tally of the lines before `at`. Of those that ended only the first can be long: it began
    /// before the settled place. Lines within are shorter than two strides, hence never measured.
    #[inline]
    fn finish(&mut self, bytes: &[u8], at: usize, tally: &mut Tally) {
        let octets = &bytes[self.settled..at];
        self.settled = at;
        if self.within {
            tally.line += octets.len();
        } else if let Some(first) = memchr::memchr(b'\n', octets) {
            tally.measure(tally.line + first + 1);
            let last = memchr::memrchr(b'\n', octets).unwrap_or(first);
            tally.line = octets.len() - last - 1;
        }
        tally.measure(tally.line);
    }
}

/// Everything about one block as bits, the first octet's lowest.
struct Block {
    ends: u64,
    bare: u64,
    dots: u64,
    high: u64,
    nuls: u64,
}

impl Block {
    /// # Safety
    /// A block is readable at `from`, and the octet before it; the machine can do `V`.
    #[inline(always)]
    unsafe fn of<V: Vector>(from: *const u8) -> Block {
        let (mut ends, mut bare, mut dots, mut high, mut nuls) = (0, 0, 0, 0, 0);
        let mut offset = 0;
        while offset < BLOCK {
            // SAFETY: both loads lie in the block and the octet before it.
            unsafe {
                let here = V::load(from.add(offset));
                let before = V::load(from.add(offset).sub(1));
                let end = here.equal(V::splat(b'\n'));
                let dot = here.equal(V::splat(b'.'));
                ends |= end.mask() << offset;
                bare |= before.equal(V::splat(b'\r')).xor(end).mask() << offset;
                dots |= before.equal(V::splat(b'\n')).and(dot).mask() << offset;
                high |= here.mask() << offset;
                nuls |= here.equal(V::splat(0)).mask() << offset;
            }
            offset += V::WIDTH;
        }
        Block {
            ends,
            bare,
            dots,
            high,
            nuls,
        }
    }
}

/// The lowest `count` bits, 64 at most.
fn below(count: usize) -> u64 {
    if count >= BLOCK {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}
