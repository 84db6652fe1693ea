package railbus

// Tables: the latest value of each key. This file changes values; table_read.go reads them.

/*
#include "shim.h"

#cgo noescape railbus_go_table_set
#cgo nocallback railbus_go_table_set
#cgo noescape railbus_go_table_delete
#cgo nocallback railbus_go_table_delete
*/
import "C"

import (
	"runtime"
	"strconv"
	"unsafe"
)

// Key is a key of a table: text or bytes of 1 to 64 bytes, or a number. It can be compared, and used as
// the key of a map. The zero Key is no key.
type Key struct {
	text     string
	number   uint64
	isNumber bool
}

// TextKey is the key with these bytes, of any kind.
func TextKey(text string) Key { return Key{text: text} }

// NumberKey is the key of a number. It differs from the key of the bytes that encode it.
func NumberKey(number uint64) Key { return Key{number: number, isNumber: true} }

// Number returns the number of a key, and whether it is one.
func (key Key) Number() (number uint64, isNumber bool) { return key.number, key.isNumber }

// String returns the bytes of a key, or its number in decimal.
func (key Key) String() string {
	if key.isNumber {
		return strconv.FormatUint(key.number, 10)
	}
	return key.text
}

// parts is the key as the shim takes it.
func (key *Key) parts() (*C.char, C.size_t, C.uint64_t) {
	if key.isNumber {
		return nil, C.RAILBUS_NUMBER_KEY, C.uint64_t(key.number)
	}
	at, bytes := text(key.text)
	return at, bytes, 0
}

// TableOptions say how a table is used. Zero is the default of everything.
type TableOptions struct {
	// Name is for observers; at most 64 bytes.
	Name string
	// Wait says how to wait for changes. Setting a value never waits for readers.
	Wait Wait
}

// Table has the values of a table's keys. A value that is read is whole, also if a writer was killed while
// it wrote, and reading never waits for a writer.
//
// It registers as a reader by the first call that reads, and as a writer by the first call that changes a
// key; the channel must be open then. It may be used by several goroutines, which take turns: those that
// read, and those that change.
type Table struct {
	channel *Channel
	options TableOptions
	writing struct {
		gate
		handle *C.railbus_table_writer
	}
	reading struct {
		gate
		handle *C.railbus_table_reader
		items  []C.railbus_table_item
		values []byte
	}
}

// Table opens the values of a table. The calls that read or change a key for the first time may return
// [ErrBusy], if no registry entry is free, and [ErrNotAllowed].
func (channel *Channel) Table(options TableOptions) (*Table, error) {
	if channel.header.Kind != TableKind {
		return nil, invalid("%s/%s is a %v, not a table", channel.header.Bus, channel.header.Name,
			channel.header.Kind)
	}
	if _, err := options.Wait.spinNS(); err != nil {
		return nil, err
	}
	table := &Table{channel: channel, options: options}
	table.writing.opened("table", runtime.Cleanup{})
	table.reading.opened("table", runtime.Cleanup{})
	return table, nil
}

// Close closes the table. Another goroutine that waits for a change gets [ErrClosed] within some 50 ms. A
// second Close returns ErrClosed.
func (table *Table) Close() error {
	err := table.writing.close(func() C.int32_t {
		handle := table.writing.handle
		table.writing.handle = nil
		return C.railbus_table_writer_close(handle, &table.writing.told)
	})
	other := table.reading.close(func() C.int32_t {
		handle := table.reading.handle
		table.reading.handle = nil
		return C.railbus_table_reader_close(handle, &table.reading.told)
	})
	if err != nil {
		return err
	}
	return other
}

// toWrite makes sure that there is a writer; the mutex of writing is held.
func (table *Table) toWrite() error {
	writing := &table.writing
	if !writing.isOpen {
		return closed(writing.name)
	}
	if writing.handle != nil {
		return nil
	}
	name, bytes := text(table.options.Name)
	err := table.channel.using(func(channel *C.railbus_channel, told *C.railbus_error) C.int32_t {
		return C.railbus_go_table_writer_open(channel, name, bytes, &writing.handle, told)
	})
	if err != nil {
		return err
	}
	closeIt := func(handle *C.railbus_table_writer) { C.railbus_table_writer_close(handle, nil) }
	writing.cleanup = runtime.AddCleanup(table, closeIt, writing.handle)
	return nil
}

// Set sets the value of a key, and returns its new version, which grows with each change of the key and
// never comes again. Readers see the old value or the new one, whole. It waits for another writer of the
// same key for the channel's StuckAfter at most, usually for less than a microsecond.
//
// [ErrNoSpace] says that the key is new and all keys are in use, [ErrTooLong] that the value is longer than
// the table's values, and [ErrBusy] that a live writer has held the key for too long.
func (table *Table) Set(key Key, value []byte) (version uint64, err error) {
	return table.set(key, value, false, 0)
}

// CompareAndSet sets the value of a key only if it is what the caller has seen: of version seen, or without
// a value for [None]. Otherwise the error is [ErrChanged], and the version that is returned is the one that
// the key has, None if it has no value.
func (table *Table) CompareAndSet(key Key, seen uint64, value []byte) (version uint64, err error) {
	return table.set(key, value, true, seen)
}

func (table *Table) set(key Key, value []byte, compares bool, seen uint64) (uint64, error) {
	writing := &table.writing
	writing.mutex.Lock()
	defer writing.mutex.Unlock()
	if err := table.toWrite(); err != nil {
		return 0, err
	}
	at, bytes, number := key.parts()
	from := (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(value)))
	answer := C.railbus_go_table_set(writing.handle, at, bytes, number, from, C.size_t(len(value)), C._Bool(compares),
		C.uint64_t(seen), &writing.told)
	return uint64(answer.value), writing.failure(answer.result)
}

// Delete deletes a key, and returns the version of the deletion. [ErrAbsent] says that it had no value.
func (table *Table) Delete(key Key) (version uint64, err error) { return table.delete(key, false, 0) }

// CompareAndDelete deletes a key only if its value is of version seen. Otherwise the error is
// [ErrChanged], as for [Table.CompareAndSet].
func (table *Table) CompareAndDelete(key Key, seen uint64) (version uint64, err error) {
	return table.delete(key, true, seen)
}

func (table *Table) delete(key Key, compares bool, seen uint64) (uint64, error) {
	writing := &table.writing
	writing.mutex.Lock()
	defer writing.mutex.Unlock()
	if err := table.toWrite(); err != nil {
		return 0, err
	}
	at, bytes, number := key.parts()
	answer := C.railbus_go_table_delete(writing.handle, at, bytes, number, C._Bool(compares), C.uint64_t(seen),
		&writing.told)
	return uint64(answer.value), writing.failure(answer.result)
}
