package railbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"railbus"
)

// newTable is a table of the test's own.
func newTable(t *testing.T) (*railbus.Channel, *railbus.Table) {
	t.Helper()
	channel := newChannel(t, railbus.ChannelOptions{Kind: railbus.TableKind, Keys: 8, ValueBytes: 16})
	table := must(channel.Table(railbus.TableOptions{Name: "test"}))(t)
	t.Cleanup(func() { table.Close() })
	return channel, table
}

func TestValuesHaveVersions(t *testing.T) {
	channel, table := newTable(t)
	header := channel.Header()
	if header.Kind.String() != "table" || header.Keys != 8 || header.ValueBytes != 16 || header.PayloadMax != 16 {
		t.Fatalf("the header is %+v", header)
	}
	bid := railbus.TextKey("bid")
	if _, err := table.Get(bid); err != railbus.ErrAbsent {
		t.Fatal(err)
	}
	for want := uint64(1); want <= 2; want++ {
		if version := must(table.Set(bid, []byte{byte(want)}))(t); version != want {
			t.Fatalf("version %d", version)
		}
	}
	value := must(table.Get(bid))(t)
	if value.Version != 2 || !bytes.Equal(value.Bytes, []byte{2}) {
		t.Fatalf("the value is %v", value)
	}
	if version, err := table.CompareAndSet(bid, 1, nil); !errors.Is(err, railbus.ErrChanged) || version != 2 {
		t.Fatal(version, err)
	}
	if version := must(table.CompareAndSet(bid, 2, []byte("x")))(t); version != 3 {
		t.Fatalf("version %d", version)
	}
	if _, err := table.CompareAndDelete(bid, 2); !errors.Is(err, railbus.ErrChanged) {
		t.Fatal(err)
	}
	if version := must(table.CompareAndDelete(bid, 3))(t); version != 4 {
		t.Fatalf("version %d", version)
	}
	if _, err := table.Delete(bid); err != railbus.ErrAbsent {
		t.Fatal(err)
	}
	if version, err := table.CompareAndSet(bid, 4, nil); !errors.Is(err, railbus.ErrChanged) || version != railbus.None {
		t.Fatal(version, err)
	}
	if version := must(table.CompareAndSet(bid, railbus.None, nil))(t); version != 5 {
		t.Fatalf("version %d", version)
	}
	if value := must(table.Get(bid))(t); value.Bytes == nil || len(value.Bytes) != 0 {
		t.Fatalf("the value is %v", value)
	}
}

func TestKeysAreTextOrNumbers(t *testing.T) {
	_, table := newTable(t)
	number, text := railbus.NumberKey(7), railbus.TextKey("\x07\x00\x00\x00\x00\x00\x00\x00")
	must(table.Set(number, []byte("number")))(t)
	must(table.Set(text, []byte("text")))(t)
	all := must(table.GetAll())(t)
	if len(all) != 2 || string(all[number].Bytes) != "number" || string(all[text].Bytes) != "text" {
		t.Fatalf("there is %v", all)
	}
	if of, is := number.Number(); of != 7 || !is || number.String() != "7" {
		t.Fatal(number)
	}
	if count := must(table.Len())(t); count != 2 {
		t.Fatalf("%d keys", count)
	}
	value, version, err := table.AppendValue([]byte("a "), number)
	if string(value) != "a number" || version != 1 || err != nil {
		t.Fatal(string(value), version, err)
	}
	for _, bad := range []railbus.Key{{}, railbus.TextKey(string(make([]byte, 65)))} {
		if _, err := table.Set(bad, nil); !errors.Is(err, railbus.ErrInvalid) {
			t.Fatal(err)
		}
	}
}

func TestWhatDoesNotFitATableIsRefused(t *testing.T) {
	channel, table := newTable(t)
	if _, err := table.Set(railbus.TextKey("x"), make([]byte, 17)); !errors.Is(err, railbus.ErrTooLong) {
		t.Fatal(err)
	}
	for key := range uint64(8) {
		must(table.Set(railbus.NumberKey(key), nil))(t)
	}
	if _, err := table.Set(railbus.TextKey("x"), nil); !errors.Is(err, railbus.ErrNoSpace) {
		t.Fatal(err)
	}
	if _, err := channel.Subscriber(railbus.SubscriberOptions{}); !errors.Is(err, railbus.ErrInvalid) {
		t.Fatal(err)
	}
	if _, err := channel.Publisher(railbus.SenderOptions{}); !errors.Is(err, railbus.ErrInvalid) {
		t.Fatal(err)
	}
	stream := must(must(railbus.Open(busName(t)))(t).Create("stream", railbus.ChannelOptions{Kind: railbus.Stream}))(t)
	defer stream.Close()
	if _, err := stream.Table(railbus.TableOptions{}); !errors.Is(err, railbus.ErrInvalid) {
		t.Fatal(err)
	}
}

func TestChangesAreConflated(t *testing.T) {
	channel, table := newTable(t)
	watching := must(channel.Table(railbus.TableOptions{}))(t)
	defer watching.Close()
	if _, err := watching.TryChanges(); err != railbus.ErrEmpty {
		t.Fatal(err)
	}
	a, b := railbus.TextKey("a"), railbus.TextKey("b")
	for i := range 100 {
		must(table.Set(a, []byte{byte(i)}))(t)
	}
	must(table.Set(b, []byte{1}))(t)
	found := make(map[railbus.Key]railbus.Change)
	for _, change := range must(watching.Changes(soon(t)))(t) {
		found[change.Key] = change
	}
	if len(found) != 2 || found[a].Version != 100 || found[a].Bytes[0] != 99 || found[b].Version != 1 {
		t.Fatalf("the changes are %v", found)
	}
	must(table.Delete(b))(t)
	for change, err := range watching.Watch(soon(t)) {
		if err != nil || change.Key != b || !change.Deleted || change.Version != 2 || change.Bytes != nil {
			t.Fatal(change, err)
		}
		break
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := watching.Changes(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestAWaitForAKeyEndsWithItsChange(t *testing.T) {
	channel, table := newTable(t)
	key := railbus.TextKey("ready")
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := table.WaitChange(ctx, key, railbus.None); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	found := make(chan error)
	go func() {
		value, err := table.WaitChange(soon(t), key, railbus.None)
		if err == nil && string(value.Bytes) != "yes" {
			err = fmt.Errorf("the value is %q", value.Bytes)
		}
		found <- err
	}()
	// The same table: a goroutine that waits does not hold up one that sets.
	must(table.Set(key, []byte("yes")))(t)
	check(t, <-found)

	bridge := must(channel.Bridge())(t)
	defer bridge.Close()
	must(table.Changes(soon(t)))(t)
	go table.Set(key, []byte("again"))
	for {
		changes, err := table.TryChanges()
		if err == nil {
			if string(changes[0].Bytes) != "again" {
				t.Fatal(changes)
			}
			break
		}
		if err != railbus.ErrEmpty {
			t.Fatal(err)
		}
		check(t, bridge.WaitFor(soon(t), table))
	}
}

func TestClosingATableEndsItsWaits(t *testing.T) {
	_, table := newTable(t)
	must(table.Set(railbus.TextKey("x"), nil))(t)
	ended := make(chan error)
	go func() {
		_, err := table.WaitChange(soon(t), railbus.TextKey("never"), railbus.None)
		ended <- err
	}()
	check(t, table.Close())
	if err := <-ended; !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := table.Get(railbus.TextKey("x")); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := table.Set(railbus.TextKey("x"), nil); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
	if err := table.Close(); !errors.Is(err, railbus.ErrClosed) {
		t.Fatal(err)
	}
}

func init() {
	roles["set-without-end"] = func(arguments []string) error {
		bus, err := railbus.Open(arguments[0])
		if err != nil {
			return err
		}
		channel, err := bus.Attach("channel")
		if err != nil {
			return err
		}
		table, err := channel.Table(railbus.TableOptions{})
		for value := byte(0); err == nil; value++ {
			_, err = table.Set(railbus.TextKey("x"), bytes.Repeat([]byte{value}, 16))
		}
		return err
	}
}

func TestAKilledWriterLeavesWholeValues(t *testing.T) {
	channel, table := newTable(t)
	seen := railbus.None
	for range 5 {
		writer := start(t, "set-without-end", channel.Header().Bus)
		must(table.WaitChange(soon(t), railbus.TextKey("x"), seen))(t)
		writer.kill(t)
		value := must(table.Get(railbus.TextKey("x")))(t)
		if !bytes.Equal(value.Bytes, bytes.Repeat(value.Bytes[:1], 16)) {
			t.Fatalf("torn: %v", value.Bytes)
		}
		// The key is not held by the dead.
		seen = must(table.Set(railbus.TextKey("x"), make([]byte, 16)))(t)
	}
}
