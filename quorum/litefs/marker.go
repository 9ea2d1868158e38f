package litefs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// markerFile lies beside dbs/, so that whoever wipes or restores LiteFS's data
// takes the marker along. LiteFS looks at nothing there but its own names
// (store.go, Open).
const (
	markerFile    = "litefence.marker"
	markerVersion = 1
	maxMarker     = 4 << 10
)

// Marker names an Open record: this data directory is on the lineage of the
// primary that committed it. The zero Marker names none.
type Marker struct {
	Index uint64 // in raft's log
	ID    string // the record's random id, for logs that began anew
}

// markerJSON is the file's content.
type markerJSON struct {
	Version int    `json:"version"`
	Index   uint64 `json:"index"`
	ID      string `json:"id"`
	CRC     string `json:"crc"` // of index and id
}

func (m Marker) crc() string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(fmt.Appendf(nil, "%d/%s", m.Index, m.ID)))
}

// ReadMarker returns the zero Marker if there is none. A damaged one is an
// error that names the file: it must not pass for absent unseen.
func ReadMarker(dataDir string) (Marker, error) {
	path := filepath.Join(dataDir, markerFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Marker{}, nil
	}
	if err != nil {
		return Marker{}, err
	}
	m, err := parseMarker(b)
	if err != nil {
		return Marker{}, fmt.Errorf("marker %s is damaged (%w): remove it; this node cannot become primary then until it has followed one", path, err)
	}
	return m, nil
}

func parseMarker(b []byte) (Marker, error) {
	if len(b) > maxMarker {
		return Marker{}, fmt.Errorf("%d bytes", len(b))
	}
	var j markerJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return Marker{}, err
	}
	m := Marker{j.Index, j.ID}
	switch {
	case j.Version != markerVersion:
		return Marker{}, fmt.Errorf("version %d", j.Version)
	case j.CRC != m.crc():
		return Marker{}, errors.New("wrong checksum")
	case m.Index == 0 || m.ID == "":
		return Marker{}, errors.New("names no record")
	}
	return m, nil
}

// WriteMarker replaces the marker and returns once it is on disk. It does not
// create dataDir. Not to be called concurrently for one directory.
func WriteMarker(dataDir string, m Marker) error {
	if m.Index == 0 || m.ID == "" {
		return fmt.Errorf("marker %+v names no record", m)
	}
	b, err := json.Marshal(markerJSON{markerVersion, m.Index, m.ID, m.crc()})
	if err != nil {
		return err
	}
	if len(b)+1 > maxMarker {
		return fmt.Errorf("marker of %d bytes", len(b))
	}
	path := filepath.Join(dataDir, markerFile)
	if err := writeSynced(path+".tmp", append(b, '\n')); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(dataDir)
}

// RemoveMarker takes the marker away: this data directory is on nobody's
// lineage any more. It is no error if there is none.
func RemoveMarker(dataDir string) error {
	if err := os.Remove(filepath.Join(dataDir, markerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(dataDir)
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
