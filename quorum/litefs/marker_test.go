package litefs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMarker(t *testing.T) {
	dir := t.TempDir()
	m, err := ReadMarker(dir)
	require.NoError(t, err)
	require.Zero(t, m)
	for _, want := range []Marker{{1, "a"}, {1<<64 - 1, "with \"quotes\" and ü"}} {
		require.NoError(t, WriteMarker(dir, want))
		got, err := ReadMarker(dir)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.NoError(t, RemoveMarker(dir))
	require.NoError(t, RemoveMarker(dir), "twice is no error")
	m, err = ReadMarker(dir)
	require.NoError(t, err)
	require.Zero(t, m)

	require.Error(t, WriteMarker(dir, Marker{}))
	require.Error(t, WriteMarker(dir, Marker{Index: 1}))
	require.Error(t, WriteMarker(dir, Marker{1, strings.Repeat("x", maxMarker)}))
	require.Error(t, WriteMarker(filepath.Join(dir, "wiped"), Marker{1, "a"}), "creates no directory")
	m, err = ReadMarker(filepath.Join(dir, "wiped"))
	require.NoError(t, err)
	require.Zero(t, m)
}

// A crash at any byte of the write leaves the old marker.
func TestMarkerCrash(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, markerFile)
	require.NoError(t, WriteMarker(dir, Marker{2, "new"}))
	full, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, WriteMarker(dir, Marker{1, "old"}))
	for n := range len(full) + 1 {
		require.NoError(t, os.WriteFile(path+".tmp", full[:n], 0o600))
		m, err := ReadMarker(dir)
		require.NoError(t, err)
		require.Equal(t, Marker{1, "old"}, m)
		require.NoError(t, WriteMarker(dir, Marker{1, "old"}))
		require.NoFileExists(t, path+".tmp")
	}
}

// Whatever became of the file, it is the marker that was written or an error.
func TestMarkerDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, markerFile)
	want := Marker{123, "id"}
	require.NoError(t, WriteMarker(dir, want))
	full, err := os.ReadFile(path)
	require.NoError(t, err)
	check := func(b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		m, err := ReadMarker(dir)
		if err != nil {
			require.Zero(t, m)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "remove it")
			return
		}
		require.Equal(t, want, m, "%q", b)
	}
	for n := range len(full) {
		check(full[:n])
		for bit := range 8 {
			flipped := append([]byte(nil), full...)
			flipped[n] ^= 1 << bit
			check(flipped)
		}
	}
	for _, b := range []string{"", "null", "{}", `{"version":1}`, strings.Repeat(" ", maxMarker+1), "\x00\x00\x00"} {
		require.NoError(t, os.WriteFile(path, []byte(b), 0o600))
		_, err := ReadMarker(dir)
		require.Error(t, err, b)
	}
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o755))
	_, err = ReadMarker(dir)
	require.Error(t, err)
}

func FuzzMarker(f *testing.F) {
	f.Add([]byte(`{"version":1,"index":1,"id":"a","crc":"00000000"}`))
	f.Add([]byte(`{"version":1,"index":5,"id":"x","crc":"` + Marker{5, "x"}.crc() + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMarker(b)
		require.Equal(t, err != nil, m == Marker{})
		if err == nil {
			require.NotZero(t, m.Index)
			require.NotEmpty(t, m.ID)
		}
	})
}
