package backup

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Inside the seal a backup is gzip of lines of JSON: a header, then for each table a line that names it with its
// columns and one line for each row, an array; at last the number of rows by table. It says nothing about the engine.
const (
	format = "anyhsm-backup"
	// formatVersion changes when an older anyhsmd could misread a backup.
	formatVersion = 1
	// longestLine bounds what a line may make us hold in memory: no message is longer than 64 MiB, so no row is.
	longestLine = 128 << 20
)

// Header is the first line.
type Header struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Schema  int64     `json:"schema"`
	Created time.Time `json:"created"`
	// Program is the version of the anyhsmd that wrote it, Store where it took it from.
	Program string `json:"anyhsm"`
	Store   string `json:"store"`
}

type tableLine struct {
	Table   string            `json:"table"`
	Columns []keystore.Column `json:"columns"`
}

type endLine struct {
	Rows map[string]int64 `json:"rows"`
}

// encode writes a dump and returns how many rows of each table it has.
func encode(w io.Writer, header Header, records iter.Seq2[keystore.Record, error]) (map[string]int64, error) {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(header); err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for r, err := range records {
		switch {
		case err != nil:
			return nil, err
		case r.Values == nil:
			counts[r.Table] = 0
			err = lines.Encode(tableLine{r.Table, r.Columns})
		default:
			counts[r.Table]++
			// encoding/json writes bytes as base64.
			err = lines.Encode(r.Values)
		}
		if err != nil {
			return nil, err
		}
	}
	return counts, lines.Encode(endLine{counts})
}

// decoder reads lines.
type decoder struct{ lines *bufio.Scanner }

func newDecoder(r io.Reader) *decoder {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), longestLine)
	return &decoder{lines}
}

func (d *decoder) line() ([]byte, error) {
	if d.lines.Scan() {
		return d.lines.Bytes(), nil
	}
	if err := d.lines.Err(); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

func (d *decoder) header() (Header, error) {
	line, err := d.line()
	if err != nil {
		return Header{}, err
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil || h.Format != format {
		return h, fault.New(fault.InvalidInput, "the file is sealed under the root key but is no backup; give a file that anyhsm backup has written")
	}
	if h.Version != formatVersion {
		return h, fault.New(fault.VersionMismatch, "the backup is of format version %d, written by anyhsmd %s; this one reads version %d: use the anyhsmd that wrote it, or a newer one",
			h.Version, h.Program, formatVersion)
	}
	return h, nil
}

// records yields what stands between the header and the end, whose counts must be those of the rows. Reading to the
// very end of the file is what proves that nothing was cut off.
func (d *decoder) records() iter.Seq2[keystore.Record, error] {
	return func(yield func(keystore.Record, error) bool) {
		var table tableLine
		counts := map[string]int64{}
		for {
			line, err := d.line()
			if err == nil && line[0] == '[' {
				var r keystore.Record
				if r, err = row(table, line); err == nil {
					counts[table.Table]++
					if !yield(r, nil) {
						return
					}
					continue
				}
			}
			if err == nil {
				if table, err = nextTable(line); err == nil && table.Table != "" {
					counts[table.Table] = 0
					if !yield(keystore.Record{Table: table.Table, Columns: table.Columns}, nil) {
						return
					}
					continue
				}
			}
			if err == nil {
				err = d.end(line, counts)
			}
			if err != nil {
				yield(keystore.Record{}, errDamaged(err))
			}
			return
		}
	}
}

func nextTable(line []byte) (t tableLine, err error) {
	return t, json.Unmarshal(line, &t)
}

// end checks the last line, and that it is the last.
func (d *decoder) end(line []byte, counts map[string]int64) error {
	var end endLine
	if err := json.Unmarshal(line, &end); err != nil {
		return err
	}
	if len(end.Rows) != len(counts) {
		return fmt.Errorf("it has %d tables and should have %d", len(counts), len(end.Rows))
	}
	for table, count := range end.Rows {
		if counts[table] != count {
			return fmt.Errorf("it has %d rows of %s and should have %d", counts[table], table, count)
		}
	}
	if d.lines.Scan() {
		return errors.New("it goes on after its end")
	}
	return d.lines.Err()
}

// row decodes a row by the kinds of its columns.
func row(table tableLine, line []byte) (keystore.Record, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		return keystore.Record{}, err
	}
	if table.Table == "" || len(raw) != len(table.Columns) {
		return keystore.Record{}, errors.New("a row stands where none belongs")
	}
	r := keystore.Record{Table: table.Table, Values: make([]any, len(raw))}
	for i, value := range raw {
		if bytes.Equal(value, []byte("null")) {
			continue
		}
		var err error
		if r.Values[i], err = table.Columns[i].Decode(value); err != nil {
			return keystore.Record{}, err
		}
	}
	return r, nil
}
