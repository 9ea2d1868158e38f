package page

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// shrink makes a PNG of at most 256 colours, a third of the size: the page has
// few, and the rest are shades at the edges of letters.
func shrink(t *testing.T, shot []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	times := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			times[at(x, y)]++
		}
	}
	byUse := slices.SortedFunc(maps.Keys(times), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(times[b], times[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	palette := color.Palette{}
	for _, c := range byUse[:min(256, len(byUse))] {
		palette = append(palette, c)
	}
	small, index := image.NewPaletted(full.Bounds(), palette), map[color.RGBA]uint8{}
	for _, c := range byUse {
		index[c] = uint8(palette.Index(c))
	}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			small.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small))
	return out.Bytes()
}
