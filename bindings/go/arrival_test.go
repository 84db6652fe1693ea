package railbus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"railbus"
)

func TestAChannelIsAttachedWhenItIsMade(t *testing.T) {
	bus := newBus(t)
	found := make(chan error)
	go func() {
		channel, err := bus.AttachWait(background, "late")
		if err == nil {
			err = channel.Close()
		}
		found <- err
	}()
	check(t, must(bus.Create("late", railbus.ChannelOptions{Kind: railbus.Stream}))(t).Close())
	check(t, <-found)
}

func TestAWaitForAChannelEndsWithItsContext(t *testing.T) {
	bus := newBus(t)
	soon, cancel := context.WithTimeout(background, 120*time.Millisecond)
	defer cancel()
	if _, err := bus.AttachWait(soon, "never"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := bus.AttachWait(background, "no/name"); !errors.Is(err, railbus.ErrInvalid) {
		t.Errorf("%v", err)
	}
}
