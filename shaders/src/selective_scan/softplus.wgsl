// log(1 + e^x), to full precision for any x: log(1 + e) = 2 artanh(e / (2 + e)) as a series, e at most 1.
fn softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    let s = e / (2.0 + e);
    let q = s * s;
    var series = 1.0 / 11.0 + q / 13.0;
    series = 1.0 / 9.0 + q * series;
    series = 1.0 / 7.0 + q * series;
    series = 1.0 / 5.0 + q * series;
    series = 1.0 / 3.0 + q * series;
    return max(x, 0.0) + 2.0 * (s + s * q * series);
}
