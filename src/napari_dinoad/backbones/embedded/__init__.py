"""The backbone that needs no weights: wavelet scattering, and colours."""
