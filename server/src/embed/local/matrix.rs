//! Matrix products on slices. This is the only module that calls the `gemm` crate, whose pointers need `unsafe`.

/// A read-only matrix laid over a slice; element (i, j) is at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix stored row after row, the rows `row_stride` elements apart.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, columns, row_stride, 1), "the matrix is larger than its slice");
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same elements with rows and columns swapped.
    pub(super) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Whether the product replaces the values of the output or is added to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Add,
    Overwrite,
}

/// Computes `a * b` into `out`, whose rows are `out_stride` elements apart.
///
/// # Panics
/// If the shapes do not agree or `out` is too small. Shapes are checked when a model is loaded.
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], out_stride: usize, output: Output) {
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    assert_eq!(inner, b.rows, "the inner dimensions of a product differ");
    assert!(columns <= out_stride, "the rows of the output overlap");
    assert!(fits(out.len(), rows, columns, out_stride, 1), "the output is larger than its slice");
    let read_out = output == Output::Add;
    // SAFETY: `gemm` reads a (rows x inner) and b (inner x columns) and writes out (rows x columns) at the given
    // strides. A `Matrix` comes only from `new`, which checks that the last element is inside the slice; transposing
    // keeps the set of addresses. The asserts above check the same for `out`, and that the inner dimensions agree.
    // `out` is a `&mut` slice, so it overlaps neither input, and its rows do not overlap each other. `fits` also limits
    // every stride of a matrix with more than one element along it to the length of a slice, which is below
    // `isize::MAX`. Other strides are unused.
    #[expect(unsafe_code, reason = "gemm takes raw pointers; the shapes are checked above")]
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            out_stride.cast_signed(),
            read_out,
            a.data.as_ptr(),
            a.column_stride.cast_signed(),
            a.row_stride.cast_signed(),
            b.data.as_ptr(),
            b.column_stride.cast_signed(),
            b.row_stride.cast_signed(),
            1.0,
            1.0,
            false,
            false,
            false,
            // Texts are spread over the cores instead, which scales better than splitting one product.
            gemm::Parallelism::None,
        );
    }
}

/// Whether a matrix's last element lies inside a slice of `len` elements.
fn fits(len: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> bool {
    if rows == 0 || columns == 0 {
        return true;
    }
    let last_row = (rows - 1).checked_mul(row_stride);
    let last_column = (columns - 1).checked_mul(column_stride);
    match (last_row, last_column) {
        (Some(row), Some(column)) => row.checked_add(column).is_some_and(|last| last < len),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares every shape around the kernels' tile sizes, with strides, with the definition.
    #[test]
    fn product_equals_the_definition() {
        for (rows, inner, columns) in [(1, 1, 1), (1, 8, 5), (3, 32, 3), (7, 33, 65), (17, 16, 48), (64, 40, 31)] {
            let (a_stride, out_stride) = (inner + 3, columns + 2);
            let a: Vec<f32> = (0..rows * a_stride).map(|i| (i % 13) as f32 - 6.0).collect();
            let b: Vec<f32> = (0..inner * columns).map(|i| (i % 7) as f32 - 3.0).collect();
            for output in [Output::Add, Output::Overwrite] {
                let mut out = vec![2.0; rows * out_stride];
                let left = Matrix::new(&a, rows, inner, a_stride);
                multiply(left, Matrix::new(&b, inner, columns, columns), &mut out, out_stride, output);
                for i in 0..rows {
                    let start = if output == Output::Add { 2.0 } else { 0.0 };
                    for j in 0..columns {
                        let sum: f32 = (0..inner).map(|p| a[i * a_stride + p] * b[p * columns + j]).sum();
                        assert_eq!(out[i * out_stride + j], start + sum, "{rows}x{inner}x{columns} at {i},{j}");
                    }
                    assert!(out[i * out_stride + columns..(i + 1) * out_stride].iter().all(|&gap| gap == 2.0));
                }
            }
        }
    }

    #[test]
    fn product_with_a_transposed_matrix() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [0.0; 4];
        let matrix = Matrix::new(&a, 2, 3, 3);
        multiply(matrix, matrix.transposed(), &mut out, 2, Output::Overwrite);
        assert_eq!(out, [14.0, 32.0, 32.0, 77.0]);
    }

    #[test]
    #[should_panic(expected = "larger than its slice")]
    fn a_matrix_beyond_its_slice_is_refused() {
        Matrix::new(&[0.0; 5], 2, 3, 3);
    }

    #[test]
    #[should_panic(expected = "output is larger")]
    fn an_output_beyond_its_slice_is_refused() {
        let a = Matrix::new(&[0.0; 4], 2, 2, 2);
        multiply(a, a, &mut [0.0; 3], 2, Output::Overwrite);
    }
}
