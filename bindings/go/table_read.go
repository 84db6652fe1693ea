package railbus

// Reading the values of tables, and learning what has changed.

/*
#include "shim.h"

#cgo noescape railbus_go_table_get
#cgo nocallback railbus_go_table_get
#cgo noescape railbus_go_table_wait_change
#cgo nocallback railbus_go_table_wait_change
*/
import "C"

import (
	"context"
	"iter"
	"runtime"
	"unsafe"
)

// Value is the value of a key. It belongs to the caller.
type Value struct {
	// Bytes is the value; nil if the key was deleted.
	Bytes []byte
	// Version grows with each change of the key, and never comes again.
	Version uint64
}

// Change is a key of a table with its newest value.
type Change struct {
	// Key is the key.
	Key Key
	// Value is the newest value. Its Bytes are nil, and Deleted is true, if the key was deleted.
	Value
	// Deleted says whether the key was deleted.
	Deleted bool
}

// room is how many keys are read at a time: about a mebibyte of values.
func (table *Table) room() int { return max(1, min(256, (1<<20)/table.valueMax())) }

// toRead makes sure that there is a reader; the mutex of reading is held.
func (table *Table) toRead() error {
	reading := &table.reading
	if !reading.isOpen {
		return closed(reading.name)
	}
	if reading.handle != nil {
		return nil
	}
	spinNS, err := table.options.Wait.spinNS()
	if err != nil {
		return err
	}
	name, bytes := text(table.options.Name)
	err = table.channel.using(func(channel *C.railbus_channel, told *C.railbus_error) C.int32_t {
		wait := C.uint32_t(table.options.Wait.Mode)
		return C.railbus_go_table_reader_open(channel, name, bytes, wait, spinNS, &reading.handle, told)
	})
	if err != nil {
		return err
	}
	closeIt := func(handle *C.railbus_table_reader) { C.railbus_table_reader_close(handle, nil) }
	reading.cleanup = runtime.AddCleanup(table, closeIt, reading.handle)
	return nil
}

// Get returns a copy of the value of a key. [ErrAbsent] says that it has none. It never waits for a writer.
func (table *Table) Get(key Key) (Value, error) {
	value, version, err := table.append(nil, key)
	return Value{value, version}, err
}

// AppendValue does as Get, and appends the value to a slice of the caller.
func (table *Table) AppendValue(to []byte, key Key) (value []byte, version uint64, err error) {
	return table.append(to, key)
}

func (table *Table) append(to []byte, key Key) ([]byte, uint64, error) {
	reading := &table.reading
	reading.mutex.Lock()
	defer reading.mutex.Unlock()
	if err := table.toRead(); err != nil {
		return to, 0, err
	}
	at, bytes, number := key.parts()
	found := C.railbus_go_table_get(reading.handle, at, bytes, number, &reading.told)
	if found.result != C.RAILBUS_OK {
		return to, 0, reading.failure(found.result)
	}
	return appendValue(to, &found), uint64(found.version), nil
}

func appendValue(to []byte, found *C.railbus_go_value) []byte {
	if to == nil {
		to = make([]byte, 0, int(found.count))
	}
	return append(to, unsafe.Slice((*byte)(unsafe.Pointer(found.bytes)), int(found.count))...)
}

// WaitChange waits until a key is not of version seen any more, where [None] means that it had no value.
// [ErrAbsent] says that it was deleted. When ctx is done, it returns the context's error.
func (table *Table) WaitChange(ctx context.Context, key Key, seen uint64) (Value, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return Value{}, err
	}
	reading := &table.reading
	for {
		reading.mutex.Lock()
		if err := table.toRead(); err != nil {
			reading.mutex.Unlock()
			return Value{}, err
		}
		at, bytes, number := key.parts()
		found := C.railbus_go_table_wait_change(reading.handle, at, bytes, number, C.uint64_t(seen), limit, &reading.told)
		if found.result == C.RAILBUS_OK {
			value := Value{appendValue(nil, &found), uint64(found.version)}
			reading.mutex.Unlock()
			return value, nil
		}
		if limit, err = reading.next(ctx, found.result); err != nil {
			return Value{}, err
		}
	}
}

// Len returns how many keys have a value. It looks at every key that was ever used.
func (table *Table) Len() (int, error) {
	reading := &table.reading
	reading.mutex.Lock()
	defer reading.mutex.Unlock()
	if err := table.toRead(); err != nil {
		return 0, err
	}
	var keys C.size_t
	result := C.railbus_table_count(reading.handle, &keys, &reading.told)
	return int(keys), reading.failure(result)
}

// GetAll returns all keys that have a value. Each value is whole. Changes that are made in the meantime may
// be among them or not.
func (table *Table) GetAll() (map[Key]Value, error) {
	all := make(map[Key]Value)
	reading := &table.reading
	reading.mutex.Lock()
	defer reading.mutex.Unlock()
	if err := table.toRead(); err != nil {
		return nil, err
	}
	table.makeRoom()
	for next := C.uint64_t(0); next != C.RAILBUS_NONE; {
		var count C.size_t
		result := C.railbus_table_get_all(reading.handle, &next, &reading.items[0], C.size_t(table.room()),
			unsafe.Pointer(&reading.values[0]), C.size_t(table.valueMax()), &count, &reading.told)
		if result != C.RAILBUS_OK {
			return nil, reading.failure(result)
		}
		for i := range int(count) {
			change := table.changeAt(i)
			all[change.Key] = change.Value
		}
	}
	return all, nil
}

func (table *Table) valueMax() int { return table.channel.header.PayloadMax }

// makeRoom makes the places for items and values; the mutex of reading is held.
func (table *Table) makeRoom() {
	if table.reading.items == nil {
		table.reading.items = make([]C.railbus_table_item, table.room())
		table.reading.values = make([]byte, table.room()*table.valueMax())
	}
}

// changeAt copies an item; the mutex of reading is held.
func (table *Table) changeAt(i int) Change {
	item := &table.reading.items[i]
	var key Key
	if item.key_bytes == C.RAILBUS_NUMBER_KEY {
		key = NumberKey(*(*uint64)(unsafe.Pointer(&item.key[0])))
	} else {
		key = TextKey(string(unsafe.Slice((*byte)(unsafe.Pointer(&item.key[0])), int(item.key_bytes))))
	}
	change := Change{Key: key, Value: Value{Version: uint64(item.version)}, Deleted: item.value_bytes == C.RAILBUS_NONE}
	if !change.Deleted {
		from := table.reading.values[i*table.valueMax():]
		change.Bytes = append(make([]byte, 0, int(item.value_bytes)), from[:item.value_bytes]...)
	}
	return change
}

// Changes returns the keys that have changed since this table reported them last; at first these are all
// keys that have a value. Of several changes of one key, the last is reported: a slow caller skips versions.
// It waits for the first change; when ctx is done, it returns the context's error.
func (table *Table) Changes(ctx context.Context) ([]Change, error) {
	limit, err := firstLimit(ctx)
	if err != nil {
		return nil, err
	}
	for {
		changes, result, err := table.changes(limit)
		if err != nil || result == C.RAILBUS_OK {
			return changes, err
		}
		table.reading.mutex.Lock()
		if limit, err = table.reading.next(ctx, result); err != nil {
			return nil, err
		}
	}
}

// TryChanges does as Changes without ever waiting: [ErrEmpty] says that nothing has changed.
func (table *Table) TryChanges() ([]Change, error) {
	changes, result, err := table.changes(0)
	if err == nil && result != C.RAILBUS_OK {
		err = Code(result)
	}
	return changes, err
}

func (table *Table) changes(limit C.uint64_t) ([]Change, C.int32_t, error) {
	reading := &table.reading
	reading.mutex.Lock()
	defer reading.mutex.Unlock()
	if err := table.toRead(); err != nil {
		return nil, 0, err
	}
	table.makeRoom()
	var count C.size_t
	result := C.railbus_table_changes(reading.handle, limit, &reading.items[0], C.size_t(table.room()),
		unsafe.Pointer(&reading.values[0]), C.size_t(table.valueMax()), &count, &reading.told)
	if result != C.RAILBUS_OK {
		if again(result) {
			return nil, result, nil
		}
		return nil, result, reading.failure(result)
	}
	changes := make([]Change, int(count))
	for i := range changes {
		changes[i] = table.changeAt(i)
	}
	return changes, result, nil
}

// Watch returns changes without end, for a loop: `for change, err := range table.Watch(ctx)`. It ends with
// the error of ctx, or another one.
func (table *Table) Watch(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			changes, err := table.Changes(ctx)
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, change := range changes {
				if !yield(change, nil) {
					return
				}
			}
		}
	}
}

func (table *Table) arm(bridge *C.railbus_bridge) error {
	reading := &table.reading
	reading.mutex.Lock()
	defer reading.mutex.Unlock()
	if err := table.toRead(); err != nil {
		return err
	}
	return failed(C.railbus_bridge_arm_table(bridge, reading.handle, &reading.told), &reading.told)
}
